"""One explanation method as a record: what it computes, of what, and under which rules."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from attnjax.config import AnalysisConfig
from attnjax.errors import UserError
from attnjax.model import segments
from attnjax.model.attention import forward
from attnjax.model.rules import HELD
from attnjax.types import Batch, Params, Segment, Stages, Trace

Shared = Callable[[Stages, Params, Batch, Key[Array, ""]], Any]
Passes = Callable[[AnalysisConfig, float], tuple[float, float]]


def traced(stages: Stages, params: Params, batch: Batch, key: Key[Array, ""]) -> Trace:
    """The forward pass, as work that methods and questions share."""
    del key
    return forward(stages, params, batch)


class Method(NamedTuple):
    """One way to say how much each word counts; a bare function in the table is its `find`.

    find       (stages, params, batch, key) -> [batch, length], 0 off the words. Beside these it
               takes, by name, what the record asks for: `segment` where it measures queries too,
               `shared` and `fitted` where those are set
    kind       "importance", or "attention" of encoders with self-attention
    signed     + speaks for the explained class, - against it; else values are at least 0
    segments   of which segments it measures the words
    holds_attention  whether it is given the model with attention held constant, where
               analysis.detach_attention says so
    exactness  as `find`, -> [batch]: how far it is from what it should add up to
    fit        (stages, params, batches, key) -> any tree: once a run, from training data
    shared     (stages, params, batch, key) -> any tree: work that several methods or questions use,
               done once for all that name the same function
    tuned      (method, AnalysisConfig) -> the method by the configuration's own settings for it
    apart      its shared work is its own: it is done in the method's program, not in the common one
    on_host    computes with NumPy: it is not compiled
    passes     (AnalysisConfig, words) -> forward and backward passes that it takes through the
               model of an example of so many words; None where nobody has counted them
    points     (shared work) -> [batch]: further passes of each kind, where the text decides
    encoders   those it is defined for; () for all
    reference  the paper
    pools      it is about attention over the encoder's states, so that a model without is refused
    """

    find: Callable[..., Float[Array, "batch length"]]
    kind: Literal["importance", "attention"] = "importance"
    signed: bool = False
    segments: tuple[Segment, ...] = ("text",)
    holds_attention: bool = False
    exactness: Callable[..., Float[Array, " batch"]] | None = None
    fit: Callable[..., Any] | None = None
    shared: Shared | None = None
    tuned: Callable[["Method", AnalysisConfig], "Method"] | None = None
    apart: bool = False
    on_host: bool = False
    passes: Passes | None = None
    points: Callable[[Any], Array] | None = None
    encoders: tuple[str, ...] = ()
    reference: str = ""
    pools: bool = False

    def under(self, config: AnalysisConfig) -> "Method":
        """The method as the configuration wants it."""
        return self if self.tuned is None else self.tuned(self, config)

    def stages(self, stages: Stages, hold: bool) -> Stages:
        """The model as this method is given it."""
        return stages.under(HELD) if hold and self.holds_attention else stages

    def work(self, stages: Stages, params: Params, batch: Batch, key: Key[Array, ""]) -> Any:
        """What it could share with others."""
        return None if self.shared is None else self.shared(stages, params, batch, key)

    def extras(self, shared: Any, fitted: Any, segment: Segment | None = None) -> dict[str, Any]:
        """What `find` and `exactness` take by name."""
        extras: dict[str, Any] = {}
        if segment is not None and len(self.segments) > 1:
            extras["segment"] = segment
        if self.shared is not None:
            extras["shared"] = shared
        if self.fit is not None:
            extras["fitted"] = fitted
        return extras

    def __call__(
        self,
        stages: Stages,
        params: Params,
        batch: Batch,
        key: Key[Array, ""],
        segment: Segment = "text",
        fitted: Any = None,
    ) -> Float[Array, "batch length"]:
        """The method by itself, with the work that it could share."""
        words = segments.words(batch, segment)
        shared = self.work(stages, params, batch, key)
        found = self.find(stages, params, batch, key, **self.extras(shared, fitted, segment))
        if jnp.shape(found) != words.shape:
            raise ValueError(f"{jnp.shape(found)} where [batch, length] is {words.shape}")
        return found


def counted(forward: int, backward: int) -> Passes:
    """So many passes, whatever the example."""
    return lambda config, words: (forward, backward)


def of_words(
    pick: Callable[[Any], Array], part: Callable[[Any], Any] = lambda shared: shared
) -> Callable[..., Float[Array, "batch length"]]:
    """Makes a `find` that reads its shared work: `pick` of what a segment has of it, 0 off words.

    part  of the shared work, one array for each segment; pick  that array -> [batch, length]
    """

    def find(
        stages: Stages,
        params: Params,
        batch: Batch,
        key: Key[Array, ""],
        segment: Segment,
        shared: Any,
    ) -> Float[Array, "batch length"]:
        del stages, params, key
        found = pick(segments.values(part(shared), segment))
        return jnp.where(segments.words(batch, segment), found, 0)

    return find


def as_method(entry: Method | Callable[..., Any]) -> Method:
    """The record of a table's entry."""
    return entry if isinstance(entry, Method) else Method(entry)


def checked(name: str, found: Any, words: Array) -> Any:
    """What a method found, NumPy on the host; UserError unless it has one number a token."""
    if jnp.shape(found) != words.shape:
        raise UserError(
            f"the importance method '{name}' returns {jnp.shape(found)} where "
            f"[batch, length] is {words.shape}"
        )
    return found
