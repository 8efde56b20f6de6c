"""Attention text models, adversarial training, and whether attention explains: see README.md."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attnjax.runs.loaded import Predictions, Run, load_run

__all__ = ["Predictions", "Run", "load_run"]


def __getattr__(name: str) -> Any:
    """Imports the public names on first use, so that `import attnjax` starts no JAX."""
    if name in __all__:
        from attnjax.runs import loaded

        return getattr(loaded, name)
    raise AttributeError(f"module 'attnjax' has no attribute '{name}'")
