"""Pretrained weights against transformers' states, and folders that are not as they should be."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bert_folder import CONFIG, WIDTH, tensors, write_folder

from attnjax.errors import UserError
from attnjax.geometry import read_geometry
from attnjax.model.layers import Bert
from attnjax.model.pretrained import read_weights

GOLDEN = Path(__file__).parents[1] / "golden" / "bert.npz"
BOUNDS = {"float32": 1e-5, "float64": 1e-12}


def run(folder, ids, segments, mask, dtype, padding=0):
    """(the last states, the layers) of rows of ids."""
    geometry = read_geometry(str(folder))
    table, weights = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), read_weights(geometry))
    encoder, wider = Bert(geometry.width, geometry), ((0, 0), (0, padding))
    ids, segments, mask = (np.pad(each, wider) for each in (ids, segments, mask))
    vectors, there = table["table"][ids], jnp.asarray(mask > 0)
    segments = jnp.asarray(segments, jnp.int32)
    states, _ = encoder.apply({"params": weights}, vectors, there, None, segments)
    return np.asarray(states), encoder.trace(weights, vectors, there, segments)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("case", ["single", "pair", "tanh"])
def test_states_and_attention_are_those_of_transformers(case, dtype, tmp_path):
    """Of every layer, on rows with padding, 9 more places of which change nothing."""
    golden = np.load(GOLDEN)
    given = [golden[f"{case}_{name}"] for name in ("ids", "segments", "mask")]
    act = "gelu_new" if case == "tanh" else "gelu"
    folder = write_folder(tmp_path / "bert", {"hidden_act": act})
    real, bound = given[2] > 0, BOUNDS[dtype]
    for padding in (0, 9):
        states, layers = run(folder, *given, dtype, padding)
        assert states.dtype == dtype
        length = real.shape[1]
        expected = golden[f"{case}_states"]
        np.testing.assert_allclose(states[:, :length][real], expected[-1][real], rtol=0, atol=bound)
        assert not states[:, :length][~real].any()
        for number, layer in enumerate(layers):
            inputs = np.asarray(layer.inputs)[:, :length][real]
            np.testing.assert_allclose(inputs, expected[number][real], rtol=0, atol=bound)
            found = np.asarray(layer.weights)[:, :, :length, :length].swapaxes(1, 2)[real]
            wanted = golden[f"{case}_attention"][number].swapaxes(1, 2)[real]
            np.testing.assert_allclose(found, wanted, rtol=0, atol=bound)


@pytest.mark.parametrize(
    ("prefix", "norm", "dtype", "bound"),
    [("bert.", ("weight", "bias"), "float32", 0), ("", ("gamma", "beta"), "float16", 1e-3)],
)
def test_other_names_and_numbers_give_the_same_weights(prefix, norm, dtype, bound, tmp_path):
    plain = read_weights(read_geometry(str(write_folder(tmp_path / "plain"))))
    other = tensors(prefix, norm, dtype)
    other[f"{prefix}embeddings.position_ids"] = np.arange(3)
    folder = write_folder(tmp_path / "other", found=other)
    read = read_weights(read_geometry(str(folder)))
    for one, two in zip(
        jax.tree.leaves(plain),
        jax.tree.leaves(read),
        strict=True,
    ):
        assert two.dtype == np.float32
        np.testing.assert_allclose(two, one, rtol=0, atol=bound)


def test_half_precision_of_the_other_kind_is_read(tmp_path):
    """BF16, which NumPy has no name for: the upper halves of float32."""
    folder = write_folder(tmp_path / "bert")
    file = folder / "model.safetensors"
    content, found = file.read_bytes(), tensors()
    size = int.from_bytes(content[:8], "little")
    header, data, start = json.loads(content[8 : 8 + size]), b"", 0
    for name in header:
        upper = (found[name].view(np.uint32) >> 16).astype(np.uint16).tobytes()
        header[name] |= {"dtype": "BF16", "data_offsets": [start, start := start + len(upper)]}
        data += upper
    head = json.dumps(header).encode()
    file.write_bytes(len(head).to_bytes(8, "little") + head + data)
    table, _ = read_weights(read_geometry(str(folder)))
    wanted = found["embeddings.word_embeddings.weight"]
    np.testing.assert_allclose(table["table"], wanted, rtol=2**-7)
    assert (table["table"] != wanted).any()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "distilbert"}, "model_type='distilbert': it has no segments"),
        ({"model_type": "roberta"}, "model_type='roberta': its places start at 2"),
        ({"model_type": None}, "model_type=None; the encoder 'bert' reads"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key'"),
        ({"hidden_act": "gelu_nev"}, "did you mean 'gelu_new'"),
        ({"num_attention_heads": 5}, "hidden_size=32, which 5 heads cannot share"),
        ({"num_hidden_layers": 0}, "num_hidden_layers=0; restore"),
        ({"max_position_embeddings": 4}, "max_position_embeddings=4; restore"),
        ({"layer_norm_eps": -1.0}, "layer_norm_eps=-1.0; restore"),
        ({"is_decoder": True}, "is_decoder=true: its words do not see those after"),
        ({"hidden_size": "wide"}, "'hidden_size' is no int"),
        ({"intermediate_size": 49}, r"has the shape \(48, 32\), where config.json says \(49, 32\)"),
        ({"num_hidden_layers": 3}, "no tensor 'encoder.layer.2.attention.self.query.weight'"),
    ],
)
def test_a_folder_of_something_else_is_refused(config, message, tmp_path):
    folder = write_folder(tmp_path / "bert", config)
    with pytest.raises(UserError, match=message):
        read_weights(read_geometry(str(folder)))


def test_what_is_missing_or_damaged_is_named(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"there is no folder .*nowhere; say where it is"):
        read_geometry(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"has no config\.json; give the folder of a BERT"):
        read_geometry(str(tmp_path))
    folder = write_folder(tmp_path / "bert")
    geometry, file = read_geometry(str(folder)), folder / "model.safetensors"
    assert (geometry.width, geometry.epsilon) == (WIDTH, CONFIG["layer_norm_eps"])
    content = file.read_bytes()
    file.write_bytes(content[:1000])
    with pytest.raises(UserError, match=r"model\.safetensors is damaged .*fetch it again"):
        read_weights(geometry)
    file.unlink()
    with pytest.raises(UserError, match=r"has no model\.safetensors; put it there"):
        read_weights(geometry)
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(UserError, match="weights in several files; save them as one"):
        read_weights(geometry)
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UserError, match=r"pytorch_model\.bin alone.*convert it where"):
        read_weights(geometry)
    file.write_bytes(content)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(UserError, match=r"pip install 'attnjax\[bert\]'"):
        read_weights(geometry)
