"""From parsed options to a task: the configuration is built and checked, then passed to `vos_zoo.tasks`."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vos_zoo import samples
from vos_zoo.cli.options import method_names
from vos_zoo.config.resources import config_folder, model_card, variants
from vos_zoo.dataset_registry import BUILT_IN
from vos_zoo.downloads.fetching import is_url
from vos_zoo.files.names import camera_number, list_files, list_folders, list_pictures
from vos_zoo.files.outputs import masks_to_replace, refuse_overwriting, report_paths
from vos_zoo.hub.result_masks import masks_details, masks_table, named_masks, published_masks
from vos_zoo.hub.weights import (
    aligned,
    known_weights,
    missing_weights_error,
    named_weights,
    saved_settings,
    unknown_weights_error,
    weights_details,
    weights_table,
)
from vos_zoo.labels import check_threshold
from vos_zoo.prompts import parse_boxes
from vos_zoo.registry import load_method
from vos_zoo.types import UsageError

if TYPE_CHECKING:
    from vos_zoo.config.layers import RunConfig


def run_fit(options: argparse.Namespace) -> int | None:
    """Train: one stage, or all stages of a recipe."""
    config = configuration(options)
    if options.ckpt not in (None, "last"):
        _existing(options.ckpt, "--ckpt")
    from vos_zoo import tasks

    if config.stages:
        stages = {name: configuration(options, stage=name) for name in config.stages}
        return tasks.run_stages(stages=stages, recipe=options.recipe, ckpt=options.ckpt, command=options.line)
    return tasks.run_fit(config=config, ckpt=options.ckpt, command=options.line)


def run_validate(options: argparse.Namespace) -> int | None:
    """Evaluate on the validation split."""
    config = configuration(options)
    from vos_zoo import tasks

    return tasks.run_validate(config=config, weights=options.weights, output=options.output)


def run_test(options: argparse.Namespace) -> int | None:
    """Evaluate on the test split by its protocol."""
    config = configuration(options)
    from vos_zoo import tasks

    return tasks.run_test(config=config, weights=options.weights, output=options.output)


def run_track(options: argparse.Namespace) -> int | None:
    """Track objects through one video."""
    _take_sample(options)
    if options.mask is None and not options.boxes:
        raise UsageError("nothing to track: give --mask FILE or --box ID:X,Y,W,H")
    if options.every < 1:
        raise UsageError(f"--every: {options.every} must be at least 1")
    boxes = parse_boxes(options.boxes)
    check_threshold(options.mask_threshold, "--mask-threshold")
    if camera_number(options.source) is None:
        _existing(options.source, "source")
    if options.mask is not None:
        _existing(options.mask, "--mask")
    _keep_inputs(options)
    config = configuration(options)
    from vos_zoo import tasks

    return tasks.run_track(
        config=config,
        source=options.source,
        weights=options.weights,
        mask=options.mask,
        boxes=boxes,
        mask_threshold=options.mask_threshold,
        output=options.output,
        overlay=options.overlay,
        report=options.report,
        every=options.every,
        skip=options.skip,
    )


def _take_sample(options: argparse.Namespace) -> None:
    """Replace the source "sample" by the clip shipped with vos-zoo, and its mask if no object is given."""
    if options.source != samples.NAME or Path(options.source).exists():
        return
    clip = samples.clip()
    options.source = str(clip.video)
    if options.mask is None and not options.boxes:
        options.mask = str(clip.mask)


def _keep_inputs(options: argparse.Namespace) -> None:
    """Check that the output of `track` is not an input and would not overwrite one."""
    source = options.source if camera_number(options.source) is None else None
    inputs = [path for path in (source, options.mask, options.weights, *options.config) if path is not None]
    files = [file for path in (source, options.mask) if path and Path(path).is_dir() for file in list_files(path)]
    names = list_pictures(source) if source and Path(source).is_dir() else None
    output = Path(options.output)
    further = [output / "overlay.mp4"] if options.overlay else []
    further += report_paths(output) if options.report else ()
    refuse_overwriting([output, *further, *masks_to_replace(output, names)], [*inputs, *files])


def run_review(options: argparse.Namespace) -> int | None:
    """Show which masks to correct next."""
    _existing(options.results, "results")
    _existing(options.video, "--video")
    if options.count < 1:
        raise UsageError(f"--count: {options.count} must be at least 1")
    refuse_overwriting([options.output], [options.results, options.video])
    trackers = {
        name: None
        if weights is None
        else (weights, configuration(argparse.Namespace(**{**vars(options), "weights": weights})))
        for name, weights in (("second", options.weights), ("backward", options.backward))
    }
    from vos_zoo import tasks

    return tasks.run_review(
        results=options.results,
        source=options.video,
        count=options.count,
        output=options.output,
        **trackers,
    )


def run_simulate(options: argparse.Namespace) -> int | None:
    """Measure what corrections are worth."""
    config = configuration(options)
    from vos_zoo import tasks

    policies = list(dict.fromkeys(options.policies)) or ["suggest", "uniform", "random"]
    return tasks.run_simulate(
        config=config,
        weights=options.weights,
        policies=policies,
        step=options.step,
        draws=options.draws,
        output=options.output,
    )


def run_demo(options: argparse.Namespace) -> int | None:
    """Serve the page to draw objects, track and correct them."""
    source = str(samples.clip().video) if options.source is None else _existing(options.source, "video")
    if not 0 <= options.port <= 65535:
        raise UsageError(f"--port: {options.port} must be from 0 (a free one) to 65535")
    _check_weights(options.weights)
    from vos_zoo.config.layers import load_config

    config = load_config(overrides=options.overrides)
    from vos_zoo import tasks

    return tasks.run_demo(
        config=config, source=source, weights=options.weights, port=options.port, open_browser=options.open
    )


def run_convert(options: argparse.Namespace) -> int | None:
    """Convert the authors' weights to a model folder."""
    if not is_url(options.source):
        _existing(options.source, "authors' file")
    config = configuration(options)
    from vos_zoo import tasks

    return tasks.run_convert(config=config, source=options.source, output=options.output)


def run_score(options: argparse.Namespace) -> int | None:
    """Score anybody's masks, or compare two results."""
    sources = [word for word in options.masks if not (word.startswith(("data.", "logger.")) and "=" in word)]
    overrides = [word for word in options.masks if word not in sources]  # key=value right behind the masks
    for word in sources:
        if named_masks(word) is None:
            _existing(word, "masks")
    from vos_zoo import tasks

    return tasks.run_score(
        masks=sources,
        data=options.data,
        overrides=[*overrides, *options.overrides],
        official=options.official,
        missing=options.missing,
        name=options.name,
        source=options.source,
        output=options.output,
        board=options.board,
    )


def run_export_masks(options: argparse.Namespace) -> int | None:
    """Write masks in another tool's format."""
    _existing(options.masks, "masks")
    from vos_zoo import tasks

    return tasks.run_export_masks(
        masks=options.masks, form=options.format, output=options.output, frames=options.frames
    )


def run_import_masks(options: argparse.Namespace) -> int | None:
    """Write masks of another tool's format as PNGs."""
    _existing(options.source, "source")
    from vos_zoo import tasks

    return tasks.run_import_masks(
        source=options.source, form=options.format, output=options.output, size=options.size, apart=options.per_object
    )


def run_leaderboard(options: argparse.Namespace) -> int | None:
    """Compare the records of runs on one board."""
    from vos_zoo import tasks

    return tasks.run_leaderboard(
        source=options.source,
        folders=options.folders,
        project=options.project,
        across=options.across,
        published=options.published,
        output=options.output,
        publish=options.publish,
    )


def run_models(options: argparse.Namespace) -> None:
    """List the methods and their variants."""
    rows = [("name", "year", "title", "paper", "config", "card")]
    further = variants()
    for name in method_names():
        info = load_method(further.get(name, name))
        config = "yes" if (config_folder() / f"{name}.yaml").is_file() else "no"
        rows.append((name, str(info.year), info.title, info.paper, config, "yes" if model_card(info.name) else "no"))
    print("\n".join(aligned(rows)))


def run_config(options: argparse.Namespace) -> None:
    """List the keys of the configuration."""
    from vos_zoo.config.reference import as_markdown, as_text, chosen_sections, method_sections, sections

    own = [] if options.model is None else [*method_sections(options.model)]
    found = chosen_sections([*sections(), *own], options.key)
    print(as_markdown(found) if options.markdown else as_text(found), end="" if options.markdown else "\n")


def run_weights(options: argparse.Namespace) -> None:
    """List named weights, or show the details of one."""
    everything = known_weights()
    if options.name is None:
        print(weights_table(everything))
        print(f"\n{masks_table(published_masks())}")
        return
    chosen = [weights_details(each) for each in everything if options.name in (each.known.name, each.method)]
    chosen += [masks_details(each) for each in published_masks() if options.name in (each.known.name, each.method)]
    if not chosen:
        raise unknown_weights_error(options.name)
    print("\n\n".join(chosen))


def run_check_data(options: argparse.Namespace) -> int | None:
    """Check a data set."""
    data = options.data or _layout_of(Path(_existing(options.folder, "folder")))
    config = configuration(options, needs_method=False, data=data, flags={"data": {"root": options.folder}})
    from vos_zoo import tasks

    return tasks.run_check_data(config=config)


def _layout_of(folder: Path) -> str:
    """The layout of a folder: by the signs of a data set, DAVIS by its lists, YouTube-VOS by meta.json, or folder."""
    for info in BUILT_IN.values():
        if any(next(folder.glob(sign), None) for sign in info.signs):
            return info.name
    pictures, lists = folder / "JPEGImages", folder / "ImageSets"
    videos = list_folders(pictures) if pictures.is_dir() else []
    plain = any(list_pictures(video) for video in videos) or (
        any(lists.glob("*.txt")) and not any(lists.glob("*/*.txt"))
    )
    if lists.is_dir() and not plain:
        return "davis"
    listed = any(next(folder.glob(depth), None) for depth in ("*/meta.json", "*/*/meta.json"))
    return "youtube_vos" if listed else "folder"


def run_check_submission(options: argparse.Namespace) -> int | None:
    """Validate an archive for a server."""
    _existing(options.source, "archive")
    config = configuration(options, needs_method=False)
    from vos_zoo import tasks

    return tasks.run_check_submission(config=config, source=options.source)


def run_make_data(options: argparse.Namespace) -> int | None:
    """Write generated videos."""
    config = configuration(options, needs_method=False, data=options.kind)
    from vos_zoo import tasks

    return tasks.run_make_data(config=config, kind=options.kind, output=options.output)


def configuration(options: argparse.Namespace, needs_method: bool = True, **more: Any) -> RunConfig:
    """The configuration of the options; the method is that of --model, the weights, or a --config."""
    from vos_zoo.config.layers import load_config

    weights = getattr(options, "weights", None)
    method = getattr(options, "model", None) or _method_of(weights)
    load = partial(
        load_config,
        method=method,
        data=more.pop("data", getattr(options, "data", None)),
        recipe=getattr(options, "recipe", None),
        files=getattr(options, "config", []),
        overrides=options.overrides,
        flags=more.pop("flags", None),
        stage=more.pop("stage", None),
        trained=weights is not None,
    )
    config = load()
    if weights is None and config.init_from and (start := saved_settings(config.init_from)):
        config = load(start=start)
    if needs_method and config.method is None:
        _check_weights(weights)
        raise UsageError(f"which method? give --model, one of: {', '.join(method_names())}")
    return config


def _check_weights(weights: str | None) -> None:
    """Refuse weights that are no file or folder, no known name, no hub name and no address."""
    if weights is None or _method_of(weights) is not None or is_url(weights) or Path(weights).exists():
        return
    if weights.count("/") != 1:
        raise unknown_weights_error(weights)


def _method_of(weights: str | None) -> str | None:
    """The method that the weights' folder names in its config.json, or the method of named weights; or None."""
    if weights is None or is_url(weights):
        return None
    path, named = Path(weights), named_weights(weights)
    if named is not None and named.state == "missing":
        raise missing_weights_error(named)
    if named is not None:
        return named.method
    if path.suffix in (".ckpt", ".safetensors", ".pth", ".pt") or path.is_absolute():
        _existing(weights, "--weights")
    for folder in (path, path.parent):
        if (folder / "config.json").is_file():
            try:
                method = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("method")
            except (ValueError, AttributeError):
                raise UsageError(f"{folder / 'config.json'}: not a model's configuration; give --model") from None
            return str(method) if method else None
    return _method_of_run(path.parent.parent / "config.yaml")


def _method_of_run(path: Path) -> str | None:
    """The method that the configuration of a run names, or None: a checkpoint is in the run's `checkpoints`."""
    if not path.is_file():
        return None
    import yaml

    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    method = tree.get("method") if isinstance(tree, dict) else None
    return str(method) if method else None


def _existing(path: str, option: str) -> str:
    if not Path(path).exists():
        raise UsageError(f"{option} {path}: no such file or folder")
    return path
