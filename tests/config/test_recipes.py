"""Recipes have the published numbers of every stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from vos_zoo.config.layers import load_config, to_plain
from vos_zoo.losses import LOSSES
from vos_zoo.registry import load_method
from vos_zoo.types import UsageError

GIVEN = [f"paths.{name}=/{name}" for name in ("youtube_vos", "davis", "coco", "mask_rcnn", "vitae")]
GIVEN_CLIPS = [f"paths.{name}=/{name}" for name in ("youtube_vos", "davis")]
BACKBONE = ("backbone.layer2", "backbone.layer3", "backbone.layer4")
YV, DAVIS = ("youtube_vos", 2019, "jjtrain"), ("davis", 2017, "train")

# Typed from "Training stages" of docs/methods: epochs, batch, milestones, rates, data sets with their odds, frames,
# affine move, losses. All: 1000 iterations per epoch, x0.2, Adam with default betas, no decay, no clipping, float32,
# gap of 100.
PUBLISHED: dict[tuple[str, str], dict[str, Any]] = {
    ("lwl", "stage1"): {
        "epochs": 70,
        "batch": 20,
        "milestones": [40],
        "rates": {"feature_conv": 2e-5, "learner": 1e-4, "decoder": 1e-4, "label_encoder": 2e-4},
        "mixture": {YV: 6, DAVIS: 1},
        "frames": (1, 3),
        "affine": True,
        "losses": {"lovasz": 100},
        "every": 5,
    },
    ("lwl", "stage2"): {
        "epochs": 80,
        "batch": 20,
        "milestones": [25, 75],
        "rates": dict.fromkeys((*BACKBONE, "feature_conv", "learner", "decoder", "label_encoder"), 2e-5),
        "mixture": {YV: 6, DAVIS: 1},
        "frames": (1, 3),
        "affine": True,
        "losses": {"lovasz": 100},
        "every": 5,
    },
    ("lwl", "box"): {
        "epochs": 50,
        "batch": 8,
        "milestones": [20, 40],
        "rates": {"box_encoder": 1e-3},
        "mixture": {YV: 1, ("coco", None, "train2014"): 1},
        "frames": (1, 1),
        "affine": False,
        "losses": {"lovasz": 10},
        "every": 5,
    },
    ("joint", "stage1"): {
        "epochs": 90,
        "batch": 20,
        "milestones": [40, 80],
        "rates": {
            "learner": 1e-4,
            "feature_conv": 2e-5,
            "decoder": 1e-4,
            "label_encoder": 2e-4,
            "transformer": 2e-5,
        },
        "mixture": {YV: 6, DAVIS: 1},
        "frames": (1, 3),
        "affine": True,
        "losses": {"lovasz": 100, "cosine": 1},
        "every": 5,
    },
    ("joint", "stage2"): {
        "epochs": 90,
        "batch": 20,
        "milestones": [25, 75],
        "rates": dict.fromkeys((*BACKBONE, "learner", "feature_conv", "decoder", "label_encoder", "transformer"), 2e-5),
        "mixture": {YV: 6, DAVIS: 1},
        "frames": (1, 3),
        "affine": True,
        "losses": {"lovasz": 100, "cosine": 1},
        "every": 1,
    },
    ("llb", "stage1"): {
        "epochs": 50,
        "batch": 32,
        "milestones": [30],
        "rates": {
            "label_encoder": 1e-4,
            "decoder": 1e-4,
            "fuse": 1e-4,
            "learner": 1e-4,
            "feature_conv": 2e-5,
            "transformer": 2e-5,
        },
        "mixture": {("coco", None, "train2017"): 1},
        "frames": (1, 3),
        "affine": True,
        "losses": {"lovasz": 100, "cosine": 1},
        "every": 5,
    },
    ("llb", "stage2"): {
        "epochs": 90,
        "batch": 32,
        "milestones": [25, 75],
        "rates": dict.fromkeys(
            (*BACKBONE, "label_encoder", "decoder", "fuse", "learner", "feature_conv", "transformer"), 2e-5
        ),
        "mixture": {("youtube_vos", 2019, "train"): 6, DAVIS: 1},
        "frames": (1, 3),
        "affine": True,
        "losses": {"lovasz": 100, "cosine": 1},
        "every": 2,
    },
}


@pytest.mark.parametrize(("method", "stage"), PUBLISHED)
def test_a_stage_has_the_published_numbers(method: str, stage: str) -> None:
    numbers = PUBLISHED[method, stage]
    config = load_config(method, recipe="paper", stage=stage, overrides=GIVEN)
    optim, data = config.optim, config.data
    assert config.trainer["max_epochs"] == numbers["epochs"] and data.batches_per_epoch == 1000
    assert data.batch_size == numbers["batch"]
    assert optim.groups == pytest.approx(numbers["rates"], rel=1e-12)
    assert (optim.schedule, optim.interval or "epoch", optim.milestones) == ("steps", "epoch", numbers["milestones"])
    assert optim.gamma == 0.2 and optim.optimiser in (None, "adam") and optim.betas == [0.9, 0.999]
    assert optim.weight_decay == 0 and optim.clip_norm is None and optim.ema is None
    assert config.trainer.get("precision", "32-true") == "32-true"
    assert (data.sampling.reference_frames, data.sampling.query_frames) == numbers["frames"]
    assert (data.sampling.max_gap, data.sampling.gap_step, data.sampling.min_visible_pixels) == (100, 5, 10)
    assert data.sampling.min_visible_factor == 2  # more than 2 (train + test frames) visible frames
    assert data.augment.affine is numbers["affine"]
    assert (data.augment.rotation, data.augment.log_scale, data.augment.brightness) == (15, 0.2, 0.2)
    assert (data.augment.grayscale, data.augment.flip) == (0.05, 0.5)
    assert data.crop.size == (480, 832) and data.crop.factor == 5 and data.crop.mode == "inside_major"
    assert (data.jitter.reference_scale, data.jitter.query_scale) == (0.25, 0.5)
    assert sorted(data.jitter.reference_centre) == [3, 3] and sorted(data.jitter.query_centre) == [4.5, 5.5]
    assert config.trainer["check_val_every_n_epoch"] == numbers["every"]
    mixed = {}
    for label, part in data.mixture.items():
        year = None if label == "coco" else part["year"]
        mixed[label, year, part["split"]] = part.get("weight", 1)
        assert part["root"] == f"/{label}"
    total = sum(mixed.values())
    assert {key: weight / total for key, weight in mixed.items()} == pytest.approx(
        {key: odds / sum(numbers["mixture"].values()) for key, odds in numbers["mixture"].items()}
    )
    network = load_method(method).load_target_model()(**{**config.model, "backbone_weights": None, **_no_files(method)})
    assert {name: weight for name, weight in network.loss_weights.items() if weight} == numbers["losses"]
    assert set(numbers["losses"]) <= {*LOSSES, "cosine"}
    assert config.model["train_iterations"] == 5 and config.model.get("train_update_iterations") == 2
    first = stage == "stage1"
    assert config.model.get("backbone_weights") == ("/mask_rcnn" if first else None)


# Typed from the training sections of docs/methods/pcvos.md and docs/methods/giel.md, which share less with each other.
ADAM = {"optim.optimiser": "adam", "optim.betas": [0.9, 0.999], "optim.clip_norm": None, "optim.ema": None}
STCN = {
    **ADAM,
    "optim.groups": {"": 1e-5},
    "optim.weight_decay": 1e-7,
    "optim.schedule": "steps",
    "optim.interval": "step",
    "optim.gamma": 0.1,
    "data.crop.size": [384, 384],
    "data.augment.flip": 0.5,
    "data.augment.grayscale": 0.05,
    "model.bootstrap": [20000, 70000, 0.15],
    "trainer.precision": "16-mixed",
}
VIDEO = {
    "steps": 150_000,
    "data.batch_size": 4 * 2,
    "optim.milestones": [125_000],
    "data.canvas": "frame",
    "data.sampling.reference_frames": 1,
    "data.sampling.objects": 2,
    "data.gaps.reverse": 0.5,
    "data.frame.window": "area",
    "data.frame.area": [0.36, 1.0],
    "data.frame.ratio": [3 / 4, 4 / 3],
    "data.frame.rotation": 15,
    "data.frame.shear": 10,
    "data.frame.scale": [1.0, 1.0],
    "data.frame.common_colour": [0.1, 0.03, 0.03],
    "data.frame.colour": [0.01, 0.01, 0.01],
    "data.frame.tries": 5,
    "data.frame.empty": True,
    "model.others": True,
}
NUMBERS: dict[tuple[str, str, str | None], dict[str, Any]] = {
    ("pcvos", "paper", "static"): {
        **STCN,
        "steps": 300_000,
        "data.batch_size": 8 * 2,
        "optim.milestones": [150_000],
        "data.name": "saliency",
        "data.sampling.reference_frames": 1,
        "data.sampling.query_frames": 2,
        "data.sampling.objects": 1,
        "data.static.motion": "warps",
        "data.static.soft_masks": True,
        "data.static.common_scale": [0.8, 1.5],
        "data.static.common_colour": [0.1, 0.05, 0.05, 0.05],
        "data.static.rotation": 20,
        "data.static.scale": [0.9, 1.1],
        "data.static.shear": 10,
        "data.static.colour": [0.1, 0.05, 0.05],
        "data.static.thin_plate": 0.33,
        "data.static.thin_plate_points": 12,
        "data.static.thin_plate_noise": 0.02,
        "model.backbone_weights": "imagenet",
        "model.value_weights": "imagenet",
        "model.others": False,
        "model.refinement": False,
        "model.train_clip": 1,
        "losses": {"cross_entropy": 1},
    },
    ("pcvos", "paper", "video"): {
        **STCN,
        **VIDEO,
        "data.sampling.query_frames": 2 * 3,
        "data.gaps.rule": "chain",
        "data.gaps.limits": [[0, 5], [0.1, 10], [0.2, 15], [0.9, 5]],
        "data.gaps.part": 3,
        "data.gaps.within": 5,
        "data.mixture": {
            "youtube_vos": {"root": "/youtube_vos", "year": 2019, "split": "train3464"},
            "davis": {"root": "/davis", "year": 2017, "split": "train", "repeats": 5},
        },
        "model.refinement": True,
        "model.window": [2, 7, 7],
        "model.depth": 2,
        "model.local_channels": 256,
        "model.key_channels": 64,
        "model.value_channels": 512,
        "model.train_clip": 3,
        "model.train_memory": "last",
        "losses": {"cross_entropy": 1, "dice": 1},
    },
    ("pcvos", "stcn", None): {
        **STCN,
        **VIDEO,
        "data.sampling.query_frames": 2,
        "data.gaps.rule": "jump",
        "data.gaps.limits": [[0, 5], [0.1, 10], [0.2, 15], [0.3, 20], [0.4, 25], [0.9, 5]],
        "data.gaps.shortest": 3,
        "model.refinement": False,
        "model.train_clip": 1,
        "losses": {"cross_entropy": 1},
    },
    ("giel", "paper", None): {
        **ADAM,
        "steps": 80_000,
        "data.batch_size": 4,
        "trainer.devices": 4,
        "optim.groups": {"": 1e-5},
        "optim.weight_decay": 0,
        "optim.schedule": "poly",
        "optim.power": 1,
        "data.mixture": {
            "youtube_vos": {"root": "/youtube_vos", "year": 2018, "split": "train"},
            "davis": {"root": "/davis", "year": 2017, "split": "train", "repeats": 5},
        },
        "data.sampling.reference_frames": 1,
        "data.sampling.query_frames": 3,
        "data.sampling.objects": 6,
        "data.gaps.rule": "chain",
        "data.gaps.limits": [[0, 5], [0.4, 25], [0.9, 25], [0.9, 5]],
        "data.gaps.change": "ramp",
        "data.gaps.rounding": "up",
        "data.crop.size": [384, 740],
        "data.frame.short_side": 480,
        "data.frame.zoom": [0.9, 1.3],
        "data.frame.rotation": 15,
        "data.frame.scale": [0.95, 1.05],
        "data.frame.place_jitter": 20,
        "data.frame.min_pixels": 100,
        "data.frame.tries": 10,
        "data.frame.common_colour": [0.1, 0.1, 0.1],
        "data.augment.flip": 0.5,
        "data.augment.grayscale": 0,
        "model.init": "maskrcnn_coco",
        "model.bn_statistics": "frozen",
        "model.bn_affine_trainable": True,
        "model.lambda_instance": 1,
        "model.detach_support": False,
    },
    ("giel", "short", None): {"steps": 10_000, "data.batch_size": 4, "optim.groups": {"": 1e-5}},
}
NUMBERS["giel-fast", "paper", None] = {**NUMBERS["giel", "paper", None], "model.refine_decoder": False}


@pytest.mark.parametrize(("method", "recipe", "stage"), NUMBERS)
def test_a_recipe_of_clips_has_the_published_numbers(method: str, recipe: str, stage: str | None) -> None:
    given = [*GIVEN_CLIPS, *(["paths.saliency=/saliency"] if method == "pcvos" else [])]
    config = load_config(method, recipe=recipe, stage=stage, overrides=given if recipe == "paper" else [])
    for key, number in NUMBERS[method, recipe, stage].items():
        value: Any = to_plain(config)
        if key == "steps":
            steps = config.trainer.get("max_steps", -1)
            value = steps if steps > 0 else config.trainer["max_epochs"] * config.data.batches_per_epoch
        elif key == "losses":
            network = load_method(config.method).load_target_model()(
                **{**config.model, "backbone_weights": None, "value_weights": None}
            )
            value = {name: weight for name, weight in network.loss_weights.items() if weight}
        else:
            for part in key.split("."):
                value = value[part] if isinstance(value, Mapping) else getattr(value, part)
            value = "adam" if key == "optim.optimiser" and value is None else value
        assert value == pytest.approx(number) if isinstance(number, float) else value == number, f"{key}: {value}"


def _no_files(method: str) -> dict[str, Any]:
    """The parts of a network that are read from files start at random here."""
    return {"vitae_weights": None} if method == "llb" else {}


def test_the_paper_recipe_lists_every_stage_in_order() -> None:
    assert load_config("pcvos", recipe="paper", overrides=[*GIVEN_CLIPS, "paths.saliency=/saliency"]).stages == [
        "static",
        "video",
    ]
    for method in {method for method, _ in PUBLISHED}:
        expected = [stage for owner, stage in PUBLISHED if owner == method]
        assert load_config(method, recipe="paper", overrides=GIVEN).stages == expected


def test_a_path_that_a_recipe_declares_must_be_given() -> None:
    with pytest.raises(UsageError, match=r"'paths\.coco' is not set and the recipe needs it; give paths\.coco=PATH"):
        load_config("lwl", recipe="paper", overrides=[word for word in GIVEN if "coco" not in word])
