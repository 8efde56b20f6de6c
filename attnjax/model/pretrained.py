"""The weights of a pretrained BERT, from its folder: the only file that imports safetensors.

Folders are laid out as Hugging Face's are. Torch keeps a linear map as [out, in]; here it is
[in, out], and those of all layers are stacked.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from attnjax.errors import UserError
from attnjax.geometry import Geometry, missing_extra, no_head
from attnjax.workdir import absolute

TYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16}
FILE, PICKLE = "model.safetensors", "pytorch_model.bin"
TOKENIZER = ("tokenizer.json", "vocab.txt", "tokenizer_config.json")
FILES = ("config.json", FILE, *TOKENIZER)
POOLER = "bert.pooler.dense"
MAPS = {  # ours -> theirs, in every layer
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "output": "attention.output.dense",
    "wide": "intermediate.dense",
    "narrow": "output.dense",
}
NORMS = {"attention_norm": "attention.output.LayerNorm", "feedforward_norm": "output.LayerNorm"}
Take = Callable[..., np.ndarray]  # (name, shape, other name) -> the tensor


def read_weights(geometry: Geometry) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(the table of word pieces, the weights of `transformer`), float32.

    Raises UserError where the file is missing or damaged, or has other shapes than config.json.
    """
    return _encoder(*_read(geometry.folder), geometry)


def read_classifier(geometry: Geometry, classes: int) -> dict[str, Any]:
    """The parameters of a classifier's stages, float32: encoder, pooler and last map.

    Raises UserError as `read_weights`, and where the file has no head, or one of other classes.
    """
    tensors, file = _read(geometry.folder)
    if not {"classifier.weight", f"{POOLER}.weight"} <= set(tensors):
        raise UserError(no_head(geometry.folder, f"{file} lacks a pooler or a classifier"))
    table, weights = _encoder(tensors, file, geometry)
    take, width = partial(_taken, tensors, file, ""), geometry.width
    head = {
        "pooler": _affine(take, POOLER, (width, width)),
        "logits": _affine(take, "classifier", (classes, width)),
    }
    return {"embed": table, "encode": {"text": weights}, "score": {}, "decode": head}


def sums_of(geometry: Geometry, names: Sequence[str] = FILES) -> dict[str, str]:
    """The SHA-256 of each of these files of the model: by them it is known again."""
    folder, found = absolute(geometry.folder), {}
    for name in names:
        if (folder / name).exists():
            found[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return found


def _taken(
    tensors: dict[str, np.ndarray],
    file: str,
    prefix: str,
    name: str,
    shape: tuple[int, ...],
    other: str = "",
) -> np.ndarray:
    """The tensor of that name, or of the other; raises UserError for none, or another shape."""
    found = tensors.get(prefix + name)
    if found is None:
        found = tensors.get(prefix + other)
    if found is None:
        raise UserError(
            f"model.pretrained: {file} has no tensor '{prefix}{name}'; it is not the model "
            "that config.json tells of, or is damaged: fetch it again"
        )
    if found.shape != shape:
        raise UserError(
            f"model.pretrained: '{prefix}{name}' in {file} has the shape {found.shape}, where "
            f"config.json says {shape}; fetch both again"
        )
    return found.astype(np.float32)


def _encoder(
    tensors: dict[str, np.ndarray], file: str, geometry: Geometry
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """`read_weights` of what a file holds."""
    prefix = "bert." if any(name.startswith("bert.") for name in tensors) else ""
    take = partial(_taken, tensors, file, prefix)
    embedding, width = "embeddings.", geometry.width
    table = take(f"{embedding}word_embeddings.weight", (geometry.rows, width))
    weights = {
        "positions": take(f"{embedding}position_embeddings.weight", (geometry.positions, width)),
        "segments": take(f"{embedding}token_type_embeddings.weight", (geometry.segments, width)),
        "entry_norm": _norm(take, f"{embedding}LayerNorm", width),
    }
    layers = [_layer(take, f"encoder.layer.{k}.", geometry) for k in range(geometry.layers)]
    weights["layers"] = {
        name: {part: np.stack([each[name][part] for each in layers]) for part in layers[0][name]}
        for name in layers[0]
    }
    return {"table": table}, weights


def _layer(take: Take, start: str, geometry: Geometry) -> dict[str, dict[str, np.ndarray]]:
    """The weights of one layer."""
    width, inner = geometry.width, geometry.inner
    sizes = {"wide": (inner, width), "narrow": (width, inner)}

    found = {
        ours: _affine(take, f"{start}{theirs}", sizes.get(ours, (width, width)))
        for ours, theirs in MAPS.items()
    }
    return found | {ours: _norm(take, f"{start}{theirs}", width) for ours, theirs in NORMS.items()}


def _affine(take: Take, name: str, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """A linear map's weights; shape  as torch keeps them."""
    return {"kernel": take(f"{name}.weight", shape).T, "bias": take(f"{name}.bias", shape[:1])}


def _norm(take: Take, name: str, width: int) -> dict[str, np.ndarray]:
    """A layer norm's weights, which old files call gamma and beta."""
    return {
        "scale": take(f"{name}.weight", (width,), f"{name}.gamma"),
        "bias": take(f"{name}.bias", (width,), f"{name}.beta"),
    }


def _read(path: str) -> tuple[dict[str, np.ndarray], str]:
    """(name -> tensor of the folder's safetensors, the name of that file)."""
    folder = absolute(path)
    file = folder / FILE
    if not file.exists() and (folder / PICKLE).exists():
        raise UserError(
            f"model.pretrained: {folder} has its weights as {PICKLE} alone, and reading that may "
            "run code of others; convert it where transformers is installed: "
            "AutoModel.from_pretrained(DIR).save_pretrained(DIR, safe_serialization=True)"
        )
    if not file.exists():
        split = " in several files" if (folder / f"{FILE}.index.json").exists() else ""
        raise UserError(
            f"model.pretrained: {folder} has no {FILE}"
            f"{f', but weights{split}; save them as one' if split else '; put it there'}"
        )
    try:
        import safetensors
    except ImportError as error:
        raise missing_extra("safetensors") from error
    try:
        tensors = safetensors.deserialize(file.read_bytes())
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"model.pretrained: {file} is damaged ({error}); fetch it again") from error
    return {
        name: np.frombuffer(each["data"], TYPES[each["dtype"]]).reshape(each["shape"])
        for name, each in tensors
        if each["dtype"] in TYPES  # others are numbers of places, or quantised: no weights here
    }, str(file)
