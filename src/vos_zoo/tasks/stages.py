"""The stages of a recipe, in order, each in its own folder and from the model of the one before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from vos_zoo.config.layers import RunConfig, check_signatures
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

    With `ckpt` "last", stages that have a model are skipped, the interrupted one continues from its last checkpoint,
    and later ones follow. The last trained stage also continues if its configuration now asks for more than
    before. A later stage starts from the model of the one before, whatever its `init_from`.

    Args:
        stages: name -> configuration, in order.
        recipe: name of the recipe, for the name of the run folder.
        ckpt: "last" continues the named run (or the newest run of the method and recipe); None starts one.
        command: the command line, for the record.
    """
    first = next(iter(stages.values()))
    check_run_name(first.run_name, first.trainer)
    run = _run_name(first, recipe or "stages", ckpt)
    folder = Path(first.output) / run
    if ckpt is None and any(has_checkpoint(folder / stage) for stage in stages):
        raise UsageError(f"run folder {str(folder)!r} holds trained stages; resume them with --ckpt last, or rename it")
    for config in stages.values():  # errors of the last stage should show before the first one starts
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
    """The stage with a model that has not reached the end of its configuration, or None.

    Raises:
        UsageError: a later stage was trained from that model.
    """
    trained = [stage for stage in stages if (folder / stage / "model").is_dir()]
    for stage in trained:
        if not has_ended(folder / stage, stages[stage].trainer):
            later = [name for name in list(stages)[list(stages).index(stage) + 1 :] if has_checkpoint(folder / name)]
            if later:
                raise UsageError(
                    f"stage {stage!r} of {str(folder)!r} has not reached trainer.max_epochs, max_steps or max_time "
                    f"as set now, but stage {later[0]!r} was trained from its model; restore them, or give "
                    "another run_name"
                )
            return stage
    return None


def _run_name(config: RunConfig, recipe: str, ckpt: str | None) -> str:
    """Name of the run folder, new or to be continued."""
    if ckpt not in (None, "last"):
        raise UsageError(
            f"--ckpt {ckpt}: several stages are continued with --ckpt last and run_name=NAME, not with one file"
        )
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
    """Check a stage before it starts: its keys, and that its input folders exist."""
    check_signatures(config)
    VOSDataModule.from_config(config.data)
    for key, root in _roots(config):
        if root is not None and not Path(root).exists():
            raise UsageError(f"{key} is {root!r}, and there is no such file or folder")


def _roots(config: RunConfig) -> Iterator[tuple[str, str | None]]:
    """Key and value of all paths that a stage reads."""
    yield "data.root", config.data.root
    for label, part in config.data.mixture.items():
        yield f"data.mixture.{label}.root", (part or {}).get("root")
    for name, path in config.paths.items():
        yield f"paths.{name}", path
