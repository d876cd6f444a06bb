"""The stages of a recipe, one after the other: each in a folder of its own, each from the model of the one before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from vos_zoo.config.layers import RunConfig, check_signatures, to_plain
from vos_zoo.console import say
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.processes import check_run_name
from vos_zoo.tasks.fit import run_fit
from vos_zoo.training.finished import has_ended
from vos_zoo.training.run_folder import has_checkpoint
from vos_zoo.types import UsageError


def run_stages(
    *, stages: Mapping[str, RunConfig], recipe: str | None = None, ckpt: str | None = None, command: str = ""
) -> int:
    """Train all stages; the run folder has one folder per stage, named as the stage.

    With `ckpt` "last" stages whose model is there are done, the one that was cut goes on behind its last checkpoint,
    and those after it follow. The last stage that was trained goes on, too, where its configuration asks for more than
    it asked for then. A later stage starts from the model of the one before, whatever its `init_from` says.

    Args:
        stages: name -> configuration, in order.
        recipe: name of what lists them, for the name of the run folder.
        ckpt: "last" goes on with the run named (or the newest run of the method and recipe); None starts one.
        command: the command line, for the record.
    """
    first = next(iter(stages.values()))
    check_run_name(first.run_name, first.trainer)
    run = _run_name(first, recipe or "stages", ckpt)
    folder = Path(first.output) / run
    if ckpt is None and any(has_checkpoint(folder / stage) for stage in stages):
        raise UsageError(f"run folder {str(folder)!r} holds trained stages; resume them with --ckpt last, or rename it")
    for config in stages.values():  # whatever is wrong with the last stage should show before the first one starts
        _check(config)
    grown = _to_go_on(folder, stages)
    before: str | None = None
    for number, (stage, config) in enumerate(stages.items(), start=1):
        model = folder / stage / "model"
        title = f"stage {stage} ({number} of {len(stages)})"
        if model.is_dir() and stage != grown:
            say(f"{title}: done, {model}")
        else:
            say(title)
            own = replace(config, run_name=f"{run}/{stage}", init_from=before or config.init_from)
            cut = has_checkpoint(folder / stage)
            run_fit(config=own, ckpt="last" if cut else None, command=command)
        before = str(model)
    say(f"all {len(stages)} stages are done: {before}")
    return 0


def _to_go_on(folder: Path, stages: Mapping[str, RunConfig]) -> str | None:
    """The stage with a model that has not come to the end that its configuration asks for, if there is one.

    Raises:
        UsageError: a later stage has been trained from that model.
    """
    trained = [stage for stage in stages if (folder / stage / "model").is_dir()]
    for stage in trained:
        if not has_ended(folder / stage, stages[stage].trainer):
            later = [name for name in list(stages)[list(stages).index(stage) + 1 :] if has_checkpoint(folder / name)]
            if later:
                raise UsageError(
                    f"stage {stage!r} of {str(folder)!r} has not come to the end that trainer.max_epochs, max_steps or "
                    f"max_time ask for now, but stage {later[0]!r} was trained from its model; put them back, or give "
                    "another run_name"
                )
            return stage
    return None


def _run_name(config: RunConfig, recipe: str, ckpt: str | None) -> str:
    """Name of the run folder, new or to be gone on with."""
    if ckpt not in (None, "last"):
        raise UsageError(f"--ckpt {ckpt}: several stages go on with --ckpt last and run_name=NAME, not with one file")
    if config.run_name is not None:
        if ckpt is not None and not (Path(config.output) / config.run_name).is_dir():
            raise UsageError(f"--ckpt last: there is no run {config.run_name!r} under {config.output!r}")
        return config.run_name
    prefix = f"{config.method}-{recipe}-"
    if ckpt is None:
        return f"{prefix}{datetime.now():%Y%m%d-%H%M%S}"
    found = sorted(path.name for path in Path(config.output).glob(f"{prefix}*") if path.is_dir())
    if not found:
        raise UsageError(f"--ckpt last: no run {prefix}* under {config.output!r}; give run_name=NAME")
    return found[-1]


def _check(config: RunConfig) -> None:
    """What can be said of a stage before it starts: its keys, and that the folders it reads are there."""
    check_signatures(config)
    VOSDataModule(**to_plain(config.data))
    for key, root in _roots(config):
        if root is not None and not Path(root).exists():
            raise UsageError(f"{key} is {root!r}, and there is no such file or folder")


def _roots(config: RunConfig) -> Iterator[tuple[str, str | None]]:
    """Key and value of everything that a stage reads from disk."""
    yield "data.root", config.data.root
    for label, part in config.data.mixture.items():
        yield f"data.mixture.{label}.root", (part or {}).get("root")
    for name, path in config.paths.items():
        yield f"paths.{name}", path
