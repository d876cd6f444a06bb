"""`vos-zoo convert`: an authors' file -> a folder that `from_pretrained` loads."""

from __future__ import annotations

import json
from pathlib import Path

from vos_zoo.config.layers import RunConfig
from vos_zoo.console import say
from vos_zoo.create import convert_checkpoint
from vos_zoo.files.outputs import refuse_overwriting
from vos_zoo.hub.weights import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from vos_zoo.types import UsageError


def run_convert(*, config: RunConfig, source: str, output: str) -> int:
    """Convert, with a strict check of all entries, and save.

    The network's structure follows the file; training settings are those of `config.model`.
    """
    assert config.method is not None
    replaced = [Path(output) / name for name in (WEIGHTS_FILE, CONFIG_FILE, CARD_FILE)]
    refuse_overwriting([output, *replaced], [source])
    others = [path for path in replaced if path.exists()]
    if others and not _is_model(Path(output)):
        raise UsageError(f"output {output}: {others[0].name} in it is not a model's file; choose an empty folder")
    options = {name: value for name, value in dict(config.model).items() if name != "backbone_weights"}
    model = convert_checkpoint(source, config.method, **options)
    model.save_pretrained(output)
    count = sum(parameter.numel() for parameter in model.network.parameters())
    say(f"{config.method}: {len(model.network.state_dict())} entries, {count:,} parameters -> {output}")
    return 0


def _is_model(folder: Path) -> bool:
    """Whether a folder was written by `save_pretrained`."""
    try:
        content = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "method" in content
