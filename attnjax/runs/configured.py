"""The configuration of the run in a folder: as it stands there, and as its checkpoints have it."""

from collections.abc import Callable
from typing import Any

from etils import epath

from attnjax.checkpoint import Checkpoints
from attnjax.config import OPTIONS, RunConfig, differences, from_config_dict, unchecked
from attnjax.errors import UserError
from attnjax.workdir import CHECKPOINTS, CONFIG, RESULTS, read_json


def read_config(folder: epath.Path) -> RunConfig:
    """The configuration of the run in this folder; raises UserError where it is not known."""
    return config_of(folder, recorded(folder))


def config_of(folder: epath.Path, record: dict[str, Any] | None) -> RunConfig:
    """The same, where it is known what the checkpoints say: `recorded`.

    A lost config.json stands in the checkpoints as well, and in results.json; one that says
    otherwise than the checkpoints, about what they are of, is refused.
    """
    path, trained = folder / CONFIG, (record or {}).get("config")
    place = path
    if path.exists():
        raw = read_json(path, dict)
    elif trained is not None:
        place, raw = folder / CHECKPOINTS, trained
    elif (folder / RESULTS).exists():
        place = folder / RESULTS
        raw = read_json(place, {"config": dict})["config"]
    else:
        raise UserError(f"{path} is lost, and no other file of the run has it; restore it")
    config = _told(from_config_dict, raw, place)
    changes = {}
    if trained is not None:
        changes = differences(config, _told(unchecked, trained, folder / CHECKPOINTS))
    for name, (value, before) in changes.items():
        option = OPTIONS[name]
        movable = option.resumable or option.incidental or option.own
        if not (movable or name.startswith("analysis.")):
            raise UserError(
                f"{path} has {name}={value!r:.80}, but its checkpoints were trained with "
                f"{before!r:.80}; restore it, or delete it: they have the whole configuration"
            )
    return config


def _told(build: Callable[[Any], RunConfig], raw: Any, place: epath.Path) -> RunConfig:
    """The configuration; raises UserError that names the place where it stands."""
    try:
        return build(raw)
    except UserError as error:
        raise UserError(f"the configuration in {place}: {error}") from error


def recorded(folder: epath.Path) -> dict[str, Any] | None:
    """What the checkpoints say of the run in this folder; see `Checkpoints.recorded`."""
    with Checkpoints(folder / CHECKPOINTS, read_only=True) as checkpoints:
        return checkpoints.recorded()
