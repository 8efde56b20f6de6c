"""Attention text models, adversarial training, and whether attention explains: see README.md."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attnjax.config import default_config
    from attnjax.errors import UserError
    from attnjax.main import train
    from attnjax.runs.elsewhere import load_huggingface
    from attnjax.runs.explanations import Explanations, Predictions
    from attnjax.runs.loaded import Run, load_run

HOMES = {
    "Explanations": "attnjax.runs.explanations",
    "Predictions": "attnjax.runs.explanations",
    "Run": "attnjax.runs.loaded",
    "UserError": "attnjax.errors",
    "default_config": "attnjax.config",
    "load_huggingface": "attnjax.runs.elsewhere",
    "load_run": "attnjax.runs.loaded",
    "train": "attnjax.main",
}
__all__ = [
    "Explanations",
    "Predictions",
    "Run",
    "UserError",
    "default_config",
    "load_huggingface",
    "load_run",
    "train",
]


def __getattr__(name: str) -> Any:
    """Imports the public names on first use, so that `import attnjax` starts no JAX."""
    if name in HOMES:
        return getattr(importlib.import_module(HOMES[name]), name)
    raise AttributeError(f"module 'attnjax' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})
