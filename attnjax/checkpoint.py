"""Checkpoints on disk: the latest training states, and the best parameters. The only Orbax import.

`latest/<step>` holds the whole TrainState and the loop's progress, the newest two of them, so that
a damaged one costs one interval and not the run. `best/<step>` holds the parameters that scored
best on validation. Orbax writes to a temporary folder and renames it, so a killed save leaves the
earlier checkpoints whole. Several processes save and restore together, into the same folder. Each
checkpoint says of itself what run it is of: what else lies in the folder may be lost or changed.
"""

import contextlib
import glob
import logging
import os
import re
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

from etils import epath

from attnjax.errors import UserError
from attnjax.hosts import is_first_process, several_processes
from attnjax.shapes import misfit
from attnjax.types import Params, TrainState
from attnjax.workdir import read_json, refuse_pipe

logger = logging.getLogger(__name__)

RECORD = "run"  # the item of a checkpoint that says what run it is of; earlier versions wrote none
RECORD_SHAPE = {"config": dict, "vocabulary": str}
SHAPES = {  # of what is saved beside the arrays
    "latest": {
        "step": int,
        "evaluated": int,
        **dict.fromkeys(("best_step?", "stale?", "pending_from?", "examples?"), int),
        **dict.fromkeys(("train_s?", "compile_s?"), float),
        "best_value?": (float, None),
        "pending?": {str: float},
    },
    "best": {str: (float, None)},
}


class Best(NamedTuple):
    """The parameters that scored best on validation, after which step, and what they scored."""

    params: Params
    step: int
    validation: dict[str, Any]


def _placed(leaf: Any) -> Any:
    """What is to be restored; a leaf that names no device goes to the first one here.

    Without that it would go to the devices that saved it, which this process may not have.
    """
    import jax
    import orbax.checkpoint as ocp

    if isinstance(leaf, jax.ShapeDtypeStruct) and leaf.sharding is None:
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here)
    leaf_of: Any = ocp.utils.to_shape_dtype_struct
    return leaf_of(leaf)


def _mark(step: int, meta: dict[str, Any]) -> tuple[int, Any]:
    """What changes with every checkpoint worth saving: its step, and the last step validated."""
    return step, meta.get("evaluated")


class Checkpoints:
    """The checkpoints of one run; use it as a context manager so that saves are finished.

    record     what each one saved here is to say of its run; see `recorded`
    read_only  touches nothing: another process may be training this run
    """

    def __init__(
        self,
        folder: epath.Path,
        record: dict[str, Any] | None = None,
        read_only: bool = False,
    ):
        self._folder, self._record, self._read_only = folder, record or {}, read_only
        self._failed = False  # a save has, and its threads may never end
        self._managers: dict[str, Any] = {}
        self._saved: dict[str, Any] = {}  # `_mark` of what was last saved or restored here

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        import jax

        if self._failed or (kind is not None and jax.process_count() > 1):
            return  # closing waits for all processes, and the error may be that one is gone
        with self._saving():
            for manager in self._managers.values():
                manager.close()

    def save(self, state: TrainState, progress: dict[str, Any]) -> None:
        """Saves the state after `progress["step"]` steps, in the background."""
        self._save("latest", progress["step"], state._asdict(), progress)

    def save_best(self, params: Params, step: int, validation: dict[str, Any]) -> None:
        """Saves the parameters that scored best so far, in the background."""
        self._save("best", step, {"params": params}, validation)

    def wait(self) -> None:
        """Returns once everything saved is on disk."""
        with self._saving():
            for manager in self._managers.values():
                manager.wait_until_finished()

    def recorded(self) -> dict[str, Any] | None:
        """What the newest checkpoint that tells says of its run: what was given as `record`.

        Empty where none tells, as those of earlier versions; None where there is none at all.
        Raises UserError where what they say is damaged, and none tells: it may be of another run.
        """
        known, damage = None, None
        for name in SHAPES:
            folder = self._folder / name
            steps = [each.name for each in folder.iterdir()] if folder.is_dir() else []
            for step in sorted((int(each) for each in steps if each.isdecimal()), reverse=True):
                known = {}
                path = folder / str(step) / RECORD / "metadata"
                if not (path.exists() or os.path.islink(path)):
                    continue
                # Orbax would start JAX, which must not have met its devices yet.
                try:
                    return read_json(path, RECORD_SHAPE)
                except UserError as error:
                    damage = damage or error
        if damage is not None:
            raise damage
        return known

    def restore(self, like: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
        """The latest undamaged state and progress, or None where nothing has been saved.

        like  a state of the same structure. Raises UserError if every checkpoint is damaged.
        """
        restored = self._restore("latest", like._asdict())
        return None if restored is None else (TrainState(**restored[1]), restored[2])

    def restore_best(self, like: Params) -> Best | None:
        """The best undamaged parameters, or None where nothing was saved."""
        restored = self._restore("best", {"params": like})
        if restored is None:
            return None
        step, arrays, validation = restored
        return Best(arrays["params"], step, validation)

    def kept(self, like: Params) -> dict[int, Params]:
        """Step -> parameters of every checkpoint that can be read, of the latest and of the best.

        The optimizer's state is left where it is. Of one that is damaged a warning tells.
        """
        import jax
        import orbax.checkpoint as ocp

        template = {"params": jax.tree.map(_placed, like)}
        found: dict[int, Params] = {}
        for name in SHAPES:
            folder = self._folder / name
            steps = [each.name for each in folder.iterdir()] if folder.exists() else []
            for step in sorted(int(each) for each in steps if each.isdecimal()):
                if step in found:
                    continue
                arguments = ocp.args.PyTreeRestore(
                    item=template,
                    restore_args=ocp.checkpoint_utils.construct_restore_args(template),
                    partial_restore=True,
                )
                try:
                    with ocp.PyTreeCheckpointer() as reader:
                        restored = reader.restore(folder / str(step) / "state", args=arguments)
                except Exception as error:  # as in `_restore`
                    logger.warning(
                        "checkpoint %s is damaged (%s); it is left out",
                        folder / str(step),
                        str(error).strip().split("\n")[0][:200],
                    )
                    continue
                found[step] = restored["params"]
        return found

    def _manager(self, name: str) -> Any:
        if name not in self._managers:
            if "://" not in str(self._folder):
                for each in glob.iglob(os.path.join(self._folder, name, "**"), recursive=True):
                    refuse_pipe(epath.Path(each))  # Orbax would wait for it
            import orbax.checkpoint as ocp  # imported late: 0.6 s off every other start

            class Manager(ocp.CheckpointManager):
                def reached_preemption(self, step: int) -> bool:
                    """Never: `attnjax.stop` asks JAX's preemption service, which counts one series
                    of steps, and would be thrown off by a second one of other numbers."""
                    del step
                    return False

            options = ocp.CheckpointManagerOptions(
                max_to_keep=None if self._read_only else 2,
                cleanup_tmp_directories=not self._read_only,
                create=not self._read_only,  # Orbax's own read_only prints three warnings a start
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    barrier_sync_key_prefix=name
                ),
            )
            try:
                self._managers[name] = Manager(self._folder / name, options=options)
            except (ValueError, RecursionError, OSError) as error:
                raise UserError(
                    f"the metadata of a checkpoint under {self._folder / name} is damaged "
                    f"({error!s:.200}); delete the checkpoint that is, and the one before counts"
                ) from error
        return self._managers[name]

    def _save(self, name: str, step: int, arrays: dict[str, Any], meta: dict[str, Any]) -> None:
        import jax
        import orbax.checkpoint as ocp

        if self._saved.get(name) == _mark(step, meta):
            return  # nothing has changed since: a signal came right after a save
        self._saved[name] = _mark(step, meta)
        if jax.process_count() > 1:
            self.wait()  # two saves under way would meet each other's barriers
        manager = self._manager(name)
        for later in [each for each in manager.all_steps() if each >= step]:
            # Left by a run that was killed between saving the best and the latest, or that went
            # further than the checkpoint that this one goes on from: Orbax would save nothing.
            manager.delete(later)
        items = {"state": ocp.args.StandardSave(arrays), "meta": ocp.args.JsonSave(meta)}
        if self._record:
            items[RECORD] = ocp.args.JsonSave(self._record)
        with self._saving():
            manager.save(step, args=ocp.args.Composite(**items))

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        """Whatever Orbax raises in the block becomes a UserError: a full disk, most often.

        But for several processes, where it tells `command.guarded` of the loss of another one.
        """
        try:
            yield
        except Exception as error:
            self._failed = True
            if several_processes():
                raise
            lines = (str(error).strip() or repr(error)).splitlines()
            told = re.search(r"([^:]+) \[os_error_code=", lines[0])  # at the end of a long line
            raise UserError(
                f"no checkpoint can be saved in {self._folder} "
                f"({told[1].strip() if told else lines[0]:.300}); mend that, and give the same "
                "command again: it resumes from the one before"
            ) from error

    def _restore(self, name: str, like: dict[str, Any]) -> tuple[int, dict[str, Any], Any] | None:
        """(step, arrays, meta) of the newest checkpoint that can be read."""
        import jax
        import orbax.checkpoint as ocp

        for path in (self._folder, self._folder / name):
            if os.path.lexists(path) and not path.is_dir():
                raise UserError(
                    f"{path} is no folder, as that of a run's checkpoints is; restore it, or "
                    "delete it to train again from the start"
                )
        if not (self._folder / name).is_dir():
            return None
        manager = self._manager(name)
        steps = sorted(manager.all_steps(), reverse=True)
        template = jax.tree.map(_placed, like)
        for step in steps:
            try:
                found = manager.restore(
                    step,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardRestore(template), meta=ocp.args.JsonRestore()
                    ),
                )
                wrong = misfit(found["meta"], SHAPES[name])
                if wrong or found["meta"].get("step", step) != step:
                    raise ValueError(f"its metadata: {wrong or 'it is of another step'}")
            except Exception as error:  # any failure to read is damage, whatever Orbax calls it
                logger.warning(
                    "checkpoint %s is damaged (%s); trying the one before",
                    self._folder / name / str(step),
                    str(error).strip().split("\n")[0][:200],
                )
                continue
            if step != steps[0] and not self._read_only:
                self._forget(name, [each for each in steps if each > step])
            self._saved[name] = _mark(step, found["meta"])
            return step, found["state"], found["meta"]
        if steps and self._read_only:
            raise UserError(
                f"no checkpoint under {self._folder / name} can be read; it is damaged, or "
                "vocab.json or config.json is not what it was trained with"
            )
        if steps:
            raise UserError(
                f"every checkpoint under {self._folder / name} is damaged; delete the folder "
                f"{self._folder} to train again from the start"
            )
        return None

    def _forget(self, name: str, steps: list[int]) -> None:
        """Sets damaged checkpoints aside, so that later saves do not trip over them."""
        import jax
        from jax.experimental import multihost_utils

        self._managers.pop(name).close()
        for step in steps:
            damaged = self._folder / name / str(step)
            if is_first_process() and damaged.exists():
                damaged.rename(self._folder / f"damaged_{name}_{step}_{uuid.uuid4().hex[:8]}")
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("damaged checkpoints are set aside")
