"""Small models and batches that the tests share."""

import json
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.config import ModelConfig
from attnjax.geometry import Geometry, Pieces
from attnjax.model.stages import build_stages
from attnjax.types import EOS, PAD, SOS, Batch

WORDS = 20


def quick_jit(function):
    """jit without the optimisations: literal versions run once and mostly cost compilation."""
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return jax.jit(function, compiler_options=options)


def small_pieces(words, width):
    """Every word is its own first piece; words with an odd id have a second, that of the next."""
    geometry = Geometry("", words, width, 2, 2, 2 * width, 40, 2, 1e-5, "gelu")
    first = np.arange(words, dtype=np.int32)
    second = np.where((first > EOS) & (first % 2 == 1), np.minimum(first + 1, words - 1), -1)
    ids = np.stack([np.where(first == PAD, -1, first), second], axis=1).astype(np.int32)
    return Pieces(geometry, ids)


@cache
def _small_model(words, classes, pair, dtype, **config):
    """(stages, params as NumPy arrays)."""
    pieces = small_pieces(words, config["hidden_dim"]) if config["encoder"] == "bert" else None
    stages = build_stages(
        ModelConfig(**config), words=words, classes=classes, pair=pair, pieces=pieces
    )
    shapes = jax.eval_shape(stages.init, jax.random.key(0))  # its random numbers take a second
    random = np.random.default_rng(3)

    def values(path, leaf):
        if "table" in jax.tree_util.keystr(path):
            return random.normal(0, 1.5, leaf.shape).astype(dtype)
        return random.uniform(-0.9, 0.9, leaf.shape).astype(dtype)

    return stages, jax.tree_util.tree_map_with_path(values, shapes)


def small_model(
    encoder="bilstm",
    attention="additive",
    pair=False,
    classes=3,
    dtype=jnp.float32,
    words=WORDS,
    **more,
):
    """(stages, params) of a tiny model whose parameters are large enough to matter.

    The stages of one model are the same at every call, so that what is compiled for them stays.
    """
    config = {"encoder": encoder, "attention": attention, "hidden_dim": 4, **more}
    config |= {"embed_dim": config["hidden_dim"] if encoder == "bert" else 6, "embed_scale": 1.0}
    stages, params = _small_model(words, classes, pair, dtype, **config)
    return stages, jax.tree.map(jnp.array, params)  # new ones: steps take their arguments' memory


def sentences(lengths, seed=0):
    """One id array a length, <sos> words <eos>."""
    random = np.random.default_rng(seed)
    return [
        np.array([SOS, *random.integers(EOS + 1, WORDS, length), EOS], np.int32)
        for length in lengths
    ]


def batch_of(rows, query=None, labels=None, length=None, query_length=None, dtype=np.float32):
    """Pads id arrays to `length` (default: the longest) and makes a Batch of them."""

    def pad(arrays, length):
        length = length or max(len(each) for each in arrays)
        padded = np.full((len(arrays), length), PAD, np.int32)
        for place, each in enumerate(arrays):
            padded[place, : len(each)] = each
        return jnp.asarray(padded)

    count = len(rows)
    return Batch(
        tokens=pad(rows, length),
        query=None if query is None else pad(query, query_length),
        labels=jnp.asarray(np.array(np.arange(count) % 2 if labels is None else labels, np.int32)),
        weight=jnp.asarray(np.ones(count, dtype)),
        candidates=None,
        rows=jnp.asarray(np.arange(count, dtype=np.int32)),
    )


def write_data(folder, rows=160, rare=0):
    """Texts whose label one word tells, as JSONL files.

    rare  so many of them begin with a rare word, two with the same
    """
    random = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    words = [f"word{letter}" for letter in "abcdefghijklmnop"]
    for name, count in (("train", rows), ("validation", 40), ("test", 40)):
        lines = []
        for number in range(count):
            label = int(random.integers(2))
            text = list(random.choice(words, random.integers(3, 12)))
            text.insert(int(random.integers(len(text))), ("bad", "good")[label])
            if number < rare:
                text.insert(0, "".join(words[int(digit)] for digit in str(number // 2)))
            lines.append(json.dumps({"text": " ".join(text), "label": label}))
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    return folder


def arguments(data, workdir, *more):
    """The command line of a run on them that takes seconds."""
    return [
        "--config=configs/custom.py",
        f"--config.data.path={data}",
        f"--workdir={workdir}",
        "--config.model.hidden_dim=8",
        "--config.model.embed_dim=8",
        "--config.train.batch_size=8",
        "--config.model.embed_scale=1.0",
        "--config.train.learning_rate=0.03",
        "--config.train.epochs=2",
        "--config.train.log_steps=5",
        "--config.analysis.permutations=0",
        "--config.analysis.adversaries=0",
        "--config.train.keep_heap=False",
        *more,
    ]


def assert_trained_alike(found, expected, learning_rate, rtol, atol):
    """Two states that trained on the same sums, taken in different orders, in float32.

    Adam divides a gradient by its own size. Where that is near 0 rounding decides the step, so
    that one number in 500 may be off by as much as one step.
    """
    close = jax.tree.map(lambda a, b: np.isclose(a, b, rtol=rtol, atol=atol), found, expected)
    for path, each in jax.tree.leaves_with_path(close):
        assert np.mean(~each) <= 1 / 500, jax.tree_util.keystr(path)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=learning_rate),
        found,
        expected,
    )
