"""The schema of the configuration: every key, its type, its default and its rule. Layers are merged in `config`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, get_type_hints


def _rule(default: Any, **rules: Any) -> Any:
    """A field with a default and rules that `checking.check_values` enforces: choices, minimum, maximum, length."""
    if isinstance(default, list | dict):
        return field(default_factory=lambda: default.copy(), metadata=rules)
    return field(default=default, metadata=rules)


@dataclass
class OptimConfig:
    """How a method is trained: Adam with rates per group of parameters, which fall in steps or along a polynomial.

    Attributes:
        groups: prefix of parameter names inside the target model -> learning rate; "" is every parameter. What no
            prefix names stays frozen (norms in eval). A later layer takes a group away with `null`.
        optimiser: `adam` (weight decay is an L2 penalty, added to the gradient) or `adamw` (decoupled decay); null is
            `adamw` where there is a weight decay, else `adam`.
        betas: Adam's running-average factors.
        weight_decay: factor of the decay.
        schedule: `steps` multiplies the rates by `gamma` at each milestone; `poly` by (1 - i / N) ^ power, where i of N
            counts through the run.
        interval: what milestones and i count: `epoch`, or `step` (of the optimiser); null is `epoch` for `steps` and
            `step` for `poly`.
        milestones: epochs or steps after which the rates are multiplied by `gamma`.
        gamma: factor of the rates at a milestone.
        power: exponent of `poly`.
        clip_norm: largest norm of the gradient, or null for no clipping.
        ema: decay of the running average of the weights, which is what is validated and saved; null for none.
    """

    groups: dict[str, float | None] = field(default_factory=dict)
    optimiser: str | None = _rule(None, choices=("adam", "adamw"))
    betas: list[float] = _rule([0.9, 0.999], length=2)
    weight_decay: float = _rule(0.0, minimum=0)
    schedule: str = _rule("steps", choices=("steps", "poly"))
    interval: str | None = _rule(None, choices=("epoch", "step"))
    milestones: list[int] = field(default_factory=list)
    gamma: float = _rule(0.2, minimum=0)
    power: float = _rule(1.0, minimum=0)
    clip_norm: float | None = _rule(None, minimum=0)
    ema: float | None = _rule(None, minimum=0, maximum=1)


@dataclass
class SamplingConfig:
    """How training clips are chosen from a video (reference frames first, then query frames within a growing gap)."""

    reference_frames: int = _rule(1, minimum=1)
    query_frames: int = _rule(3, minimum=1)
    max_gap: int = _rule(100, minimum=1)
    gap_step: int = _rule(5, minimum=1)
    give_up_gap: int = _rule(1000, minimum=1)
    min_visible_pixels: int = _rule(10, minimum=0)
    min_visible_factor: int = _rule(2, minimum=1)
    objects: int = _rule(1, minimum=1)


@dataclass
class GapConfig:
    """How far apart the frames of a clip are with `data.canvas=frame`; see `GapSettings`.

    `limits` are pairs (share of the training, largest gap in frames of the video).
    """

    rule: str = _rule("chain", choices=("chain", "jump"))
    limits: list[list[float]] = field(default_factory=lambda: [[0.0, 5.0]])
    change: str = _rule("steps", choices=("steps", "ramp"))
    part: int = _rule(1, minimum=1)
    within: int = _rule(5, minimum=1)
    rounding: str = _rule("down", choices=("down", "up"))
    reverse: float = _rule(0.0, minimum=0, maximum=1)
    shortest: int = _rule(3, minimum=1)
    repeat: bool = True


@dataclass
class FrameConfig:
    """How canvases are cut with `data.canvas=frame`, several objects on each; see `FrameSettings`."""

    window: str = _rule("area", choices=("area", "short_side"))
    area: list[float] = _rule([0.36, 1.0], length=2, minimum=0, maximum=1)
    ratio: list[float] = _rule([3 / 4, 4 / 3], length=2, minimum=0)
    short_side: int = _rule(480, minimum=1)
    zoom: list[float] = _rule([0.9, 1.3], length=2, minimum=0)
    place_jitter: float = _rule(0.0, minimum=0)
    turn: str = _rule("canvas", choices=("canvas", "frame"))
    rotation: float = _rule(15.0, minimum=0)
    scale: list[float] = _rule([1.0, 1.0], length=2, minimum=0)
    shear: float = _rule(10.0, minimum=0, maximum=89)
    interpolation: str = _rule("cubic", choices=("cubic", "linear"))
    common_colour: list[float] = _rule([0.1, 0.03, 0.03], length=3, minimum=0)
    colour: list[float] = _rule([0.01, 0.01, 0.01], length=3, minimum=0)
    min_pixels: int = _rule(1, minimum=1)
    tries: int = _rule(5, minimum=1)
    empty: bool = True


@dataclass
class CropConfig:
    """How training canvases are cut: `size` is (h, w) in pixels, `factor` the side of the region over the object's."""

    size: list[int] = _rule([480, 832], length=2, minimum=1)
    factor: float = _rule(5.0, minimum=0)
    mode: str = "inside_major"
    max_scale_change: float | None = _rule(None, minimum=0)


@dataclass
class JitterConfig:
    """How far the crop of a training frame moves and scales around its object."""

    reference_scale: float = _rule(0.25, minimum=0)
    reference_centre: list[float] = _rule([3.0, 3.0], length=2, minimum=0)
    query_scale: float = _rule(0.5, minimum=0)
    query_centre: list[float] = _rule([5.5, 4.5], length=2, minimum=0)


@dataclass
class AugmentConfig:
    """Changes of training frames: probabilities of grey and flip, an affine move (degrees, log scale), brightness.

    `fused` resamples a canvas once for crop and affine move, not twice; see `AugmentSettings`.
    """

    grayscale: float = _rule(0.05, minimum=0, maximum=1)
    flip: float = _rule(0.5, minimum=0, maximum=1)
    affine: bool = True
    rotation: float = _rule(15.0, minimum=0)
    log_scale: float = _rule(0.2, minimum=0)
    brightness: float = _rule(0.2, minimum=0)
    fused: bool = False


@dataclass
class SyntheticConfig:
    """The videos drawn on demand: `size` is (H, W) in pixels, `late_objects` the share that enters after frame 0."""

    size: list[int] = _rule([128, 224], length=2, minimum=16)
    frames: int = _rule(24, minimum=1)
    min_objects: int = _rule(1, minimum=1)
    max_objects: int = _rule(3, minimum=1)
    train_videos: int = _rule(400, minimum=1)
    val_videos: int = _rule(6, minimum=1)
    test_videos: int = _rule(6, minimum=1)
    late_objects: float = _rule(0.2, minimum=0, maximum=1)
    device: str = "cpu"
    difficulty: float = _rule(1.0, minimum=0)


@dataclass
class ComposedConfig:
    """The clips composed of photographs; see `ComposedSettings`.

    `kind` says what the root holds (any data set that is read from disk), `videos` names a further folder of videos
    with masks, laid out as DAVIS (its list `train`) or as `folder`, `backgrounds` one of pictures without masks.
    """

    kind: str = "instances"
    videos: str | None = None
    backgrounds: str | None = None
    size: list[int] = _rule([192, 336], length=2, minimum=32)
    frames: int = _rule(48, minimum=1)
    min_objects: int = _rule(1, minimum=1)
    max_objects: int = _rule(4, minimum=1)
    late_objects: float = _rule(0.15, minimum=0, maximum=1)
    look_alike: float = _rule(0.4, minimum=0, maximum=1)
    in_place: float = _rule(0.25, minimum=0, maximum=1)
    video_share: float = _rule(0.3, minimum=0, maximum=1)
    difficulty: float = _rule(1.0, minimum=0)
    train_videos: int = _rule(100_000, minimum=1)
    val_videos: int = _rule(6, minimum=1)
    test_videos: int = _rule(6, minimum=1)


@dataclass
class StaticConfig:
    """How a static image becomes a clip (`coco`, `saliency`), and which images count; see `StaticSettings`.

    `motion` is `crops` (crops jittered around the object, as for videos) or `warps` (the whole picture is warped, by
    the numbers that follow); `repeat` says how often the pictures of a folder count.
    """

    motion: str = _rule("crops", choices=("crops", "warps"))
    soft_masks: bool = False
    min_area: float = _rule(0.0, minimum=0)
    repeat: dict[str, int] | None = None
    common_scale: list[float] = _rule([0.8, 1.5], length=2, minimum=0)
    common_colour: list[float] = _rule([0.1, 0.05, 0.05, 0.05], length=4, minimum=0)
    rotation: float = _rule(20.0, minimum=0)
    scale: list[float] = _rule([0.9, 1.1], length=2, minimum=0)
    shear: float = _rule(10.0, minimum=0, maximum=89)
    colour: list[float] = _rule([0.1, 0.05, 0.05], length=3, minimum=0)
    thin_plate: float = _rule(0.33, minimum=0, maximum=1)
    thin_plate_noise: float = _rule(0.02, minimum=0)
    thin_plate_points: int = _rule(12, minimum=3)


@dataclass
class MixtureConfig:
    """What an entry of `data.mixture` may hold; `MixturePart` says what it means."""

    name: str | None = None
    root: str | None = None
    split: str | None = None
    weight: float | None = None
    repeats: float | None = None
    year: int | None = None
    resolution: str | None = None
    layout: str | None = None
    sequences: list[str] | None = None
    frame_step: int | None = None
    mask_threshold: int | None = None


@dataclass
class DataConfig:
    """Which videos are read and how training batches are made from them.

    Attributes:
        name: which data set (a file of `configs/data`).
        root: its folder; None where nothing is read from disk.
        year: edition of the data set, where it has several.
        resolution: name of the resolution's folder, where it has several.
        layout: YouTube-VOS: folder of a split below the root, such as "{year}/{split}"; None finds it.
        train_split: split that `fit` trains on.
        val_split: split that `fit` and `validate` score.
        test_split: split that `test` runs.
        sequences: only these videos, in all splits; None for all.
        val_sequences: at most so many validation videos; None for all.
        skip_broken: leave unreadable videos out with a warning instead of stopping.
        mask_threshold: the smallest grey level, 1..255, of the one object of masks with soft edges, which are refused
            otherwise (128: half); None reads object ids.
        batch_size: clips per training step.
        workers: loader processes.
        batches_per_epoch: training steps per epoch.
        pack: folder in which decoded training videos are kept; None decodes files again and again.
        pack_short_side: the shorter side that larger packed frames are shrunk to; None keeps every pixel.
        compact: frames and masks stay 8-bit until they are on their device.
        reduced_decoding: pictures of which a canvas keeps half the pixels or fewer per axis are decoded at that size.
        seed: seed of everything drawn at random.
        canvas: what a training canvas shows: the surroundings of an `object`, or a part of the `frame`.
        frame_step: video frames per frame of the data set, where it holds every n-th only; None asks it.
        sampling: how clips are chosen.
        gaps: how far apart their frames are (canvas `frame`).
        frame: how canvases of whole frames are made (canvas `frame`).
        crop: how canvases are cut.
        jitter: how the crops vary.
        augment: how pixels and geometry vary.
        synthetic: the videos drawn on demand.
        composed: the clips composed of photographs.
        static: static images and how they become clips.
        mixture: data sets to train on instead of `name` (which is validated on): label -> name (default: the label),
            root, split, weight or repeats, year, resolution, layout, sequences, frame_step, mask_threshold. A later
            layer takes one away with `null`.
    """

    name: str = "synthetic"
    root: str | None = None
    year: int = 2017
    resolution: str = "480p"
    layout: str | None = None
    train_split: str = "train"
    val_split: str = "val"
    test_split: str = "val"
    sequences: list[str] | None = None
    val_sequences: int | None = _rule(None, minimum=1)
    skip_broken: bool = False
    mask_threshold: int | None = _rule(None, minimum=1, maximum=255)
    batch_size: int = _rule(20, minimum=1)
    workers: int = _rule(2, minimum=0)
    batches_per_epoch: int = _rule(1000, minimum=1)
    pack: str | None = None
    pack_short_side: int | None = _rule(None, minimum=1)
    compact: bool = False
    reduced_decoding: bool = False
    seed: int = _rule(0, minimum=0)
    canvas: str = _rule("object", choices=("object", "frame"))
    frame_step: int | None = _rule(None, minimum=1)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    gaps: GapConfig = field(default_factory=GapConfig)
    frame: FrameConfig = field(default_factory=FrameConfig)
    crop: CropConfig = field(default_factory=CropConfig)
    jitter: JitterConfig = field(default_factory=JitterConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
    composed: ComposedConfig = field(default_factory=ComposedConfig)
    static: StaticConfig = field(default_factory=StaticConfig)
    mixture: dict[str, Any] = field(default_factory=dict)


@dataclass
class LoggerConfig:
    """Where scores go (`csv`, `wandb` or `none`), the project's name there, and how many pictures are logged."""

    name: str = _rule("csv", choices=("csv", "wandb", "none"))
    project: str = "vos-zoo"
    images: int = _rule(2, minimum=0)


@dataclass
class RunConfig:
    """Everything a run depends on.

    Attributes:
        method: name of the method, or None where a command needs none.
        model: keyword arguments of the method's target model.
        track: inference settings of the method.
        optim: how it is trained.
        data: on what.
        trainer: keyword arguments of `pytorch_lightning.Trainer`.
        logger: where scores go.
        output: folder under which run folders are created.
        run_name: name of the run's folder; None for one made from the method and the time.
        seed: seed of the run.
        init_from: weights the run starts from (a checkpoint or a saved folder).
        stages: stages that `fit` trains one after the other, each in a folder of its own and from the model of the one
            before. A stage is the name of a recipe, or `name`, `recipe` (one of both may be left out) and further keys,
            which win over the recipe's.
        compile: compile the network's parts for training (`torch.compile`); the first step then takes minutes.
        paths: folders and files that a recipe refers to as `${paths.NAME}`: data sets, initial weights. What a layer
            declares as null must be given.
        checkpoint_every: the last checkpoint is renewed after so many training steps, and at the end of every epoch.
    """

    method: str | None = None
    model: dict[str, Any] = field(default_factory=dict)
    track: dict[str, Any] = field(default_factory=dict)
    optim: OptimConfig = field(default_factory=OptimConfig)
    data: DataConfig = field(default_factory=DataConfig)
    trainer: dict[str, Any] = field(default_factory=dict)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    output: str = "runs"
    run_name: str | None = None
    seed: int = _rule(0, minimum=0)
    init_from: str | None = None
    stages: list[Any] = field(default_factory=list)
    compile: bool = False
    paths: dict[str, str | None] = field(default_factory=dict)
    checkpoint_every: int = _rule(500, minimum=1)


@dataclass
class StageConfig(RunConfig):
    """What an entry of `stages` may hold: its name, its recipe, and further keys."""

    name: str | None = None
    recipe: str | None = None


_ENTRIES: dict[tuple[type[Any], str], Any] = {
    (DataConfig, "mixture"): dict[str, MixtureConfig | None],
    (RunConfig, "stages"): list[str | StageConfig],
}
"""What the keys hold whose entries are merged as they come."""


def key_types(schema: type[Any]) -> dict[str, Any]:
    """The type of every key of a part of the configuration, with the entries of mixtures and stages in full."""
    own = {key: hint for (owner, key), hint in _ENTRIES.items() if issubclass(schema, owner)}
    return {**get_type_hints(schema), **own}
