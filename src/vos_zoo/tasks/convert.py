"""`vos-zoo convert`: an authors' file -> a folder that `from_pretrained` loads."""

from __future__ import annotations

from vos_zoo.config import RunConfig
from vos_zoo.core.hub import convert_checkpoint
from vos_zoo.tasks.console import say


def run_convert(*, config: RunConfig, source: str, output: str) -> int:
    """Convert strictly, and save.

    Only what the authors' network depends on is taken from `config.model`; training switches stay as configured.
    """
    assert config.method is not None
    options = {name: value for name, value in dict(config.model).items() if name != "backbone_weights"}
    model = convert_checkpoint(source, config.method, **options)
    model.save_pretrained(output)
    count = sum(parameter.numel() for parameter in model.network.parameters())
    say(f"{config.method}: {len(model.network.state_dict())} entries, {count:,} parameters -> {output}")
    return 0
