"""The schema of the configuration: every key, its type, its default and its rule. Layers are merged in `layers`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vos_zoo.config.precision import TRAINER_PRECISIONS
from vos_zoo.config.settings.data import DataConfig, MixturePart
from vos_zoo.config.settings.rules import Settings, group, key_hints, setting


@dataclass
class OptimConfig(Settings):
    """How a method is trained: Adam with rates per group of parameters, which fall in steps or along a polynomial."""

    KEY = "optim"

    groups: dict[str, float | None] = setting(
        {},
        'prefix of parameter names inside the target model -> learning rate; "" is every parameter. What no prefix '
        "names stays frozen (norms in eval). A later layer removes a group with `null`",
    )
    optimiser: str | None = setting(
        None,
        "`adam` (weight decay is an L2 penalty, added to the gradient) or `adamw` (decoupled decay); null is `adamw` "
        "where there is a weight decay, else `adam`",
        choices=("adam", "adamw"),
    )
    betas: list[float] = setting([0.9, 0.999], "Adam's running-average factors", length=2)
    weight_decay: float = setting(0.0, "factor of the decay", minimum=0)
    schedule: str = setting(
        "steps",
        "`steps` multiplies the rates by `gamma` at each milestone; `poly` by (1 - i / N) ^ power, where i of N counts "
        "through the run",
        choices=("steps", "poly"),
    )
    interval: str | None = setting(
        None,
        "what milestones and i count: `epoch`, or `step` (of the optimiser); null is `epoch` for `steps` and `step` "
        "for `poly`",
        choices=("epoch", "step"),
    )
    milestones: list[int] = setting([], "epochs or steps after which the rates are multiplied by `gamma`")
    gamma: float = setting(0.2, "factor of the rates at a milestone", minimum=0)
    power: float = setting(1.0, "exponent of `poly`", minimum=0)
    clip_norm: float | None = setting(None, "largest norm of the gradient; null for no clipping", minimum=0)
    ema: float | None = setting(
        None,
        "decay of the running average of the weights, which is validated and saved; null for none",
        minimum=0,
        maximum=1,
    )


@dataclass
class LoggerConfig(Settings):
    """Where scores go."""

    KEY = "logger"

    name: str = setting("csv", "where scores go", choices=("csv", "wandb", "none"))
    project: str = setting("vos-zoo", "the project's name there")
    images: int = setting(2, "how many images are logged", minimum=0)


@dataclass
class RunConfig(Settings):
    """Everything a run depends on."""

    method: str | None = setting(None, "name of the method; null where a command needs none")
    model: dict[str, Any] = setting({}, "keyword arguments of the method's target model")
    track: dict[str, Any] = setting({}, "inference settings of the method")
    optim: OptimConfig = group(OptimConfig, "how it is trained")
    data: DataConfig = group(DataConfig, "on what")
    trainer: dict[str, Any] = setting({}, "keyword arguments of `pytorch_lightning.Trainer`")
    logger: LoggerConfig = group(LoggerConfig, "where scores go")
    output: str = setting("runs", "folder under which run folders are created")
    run_name: str | None = setting(None, "name of the run's folder; null for one made from the method and the time")
    precision: str | None = setting(
        None,
        "number format of tracking and training, on a GPU: `float32` (IEEE), `tf32`, `bf16` or `fp16`; sets "
        "`track.precision`, and `trainer.precision` to `32-true`, `bf16-mixed` or `16-mixed`, where the layer does "
        "not; null leaves both",
        choices=tuple(TRAINER_PRECISIONS),
    )
    seed: int = setting(0, "seed of the run", minimum=0)
    init_from: str | None = setting(None, "weights the run starts from (a checkpoint or a saved folder)")
    stages: list[Any] = setting(
        [],
        "stages that `fit` trains one after the other, each in a folder of its own and from the model of the one "
        "before. A stage is the name of a recipe, or `name`, `recipe` (one of both may be left out) and further keys, "
        "which win over the recipe's",
    )
    compile: bool = setting(
        False, "compile the network's parts for training (`torch.compile`); the first step then takes minutes"
    )
    paths: dict[str, str | None] = setting(
        {},
        "folders and files that a recipe refers to as `${paths.NAME}`: data sets, initial weights. What a layer "
        "declares as null must be given",
    )
    checkpoint_every: int = setting(
        500, "the last checkpoint is renewed after so many training steps, and at the end of every epoch", minimum=1
    )


@dataclass
class StageConfig(RunConfig):
    """What an entry of `stages` may hold: its name, its recipe, and further keys."""

    name: str | None = setting(None, "name of the stage; null for that of its recipe")
    recipe: str | None = setting(None, "recipe it starts from")


_ENTRIES: dict[tuple[type[Any], str], Any] = {
    (DataConfig, "mixture"): dict[str, MixturePart | None],
    (RunConfig, "stages"): list[str | StageConfig],
}
"""Types of the keys whose entries are merged without a schema."""


def key_types(schema: type[Any]) -> dict[str, Any]:
    """The type of every key of a part of the configuration, with the entries of mixtures and stages in full."""
    own = {key: hint for (owner, key), hint in _ENTRIES.items() if issubclass(schema, owner)}
    return {**key_hints(schema), **own}
