"""How sure a tracker is of its masks: what the probabilities say, the method's evidence, and a calibrated IoU."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vos_zoo.types import UsageError

CONFIDENCE_FILE = "confidence.json"
"""The calibration of a model, in its folder."""
SIGNS = ("soft_iou", "border", "shrink", "evidence")
"""What the expected IoU is made of; it rises with each."""
STRIDE = 2
"""Every second pixel in each direction is looked at."""
_LIMIT = 4.0  # of log-odds: soft IoUs of 0.02 and 0.98
_SMALLEST = -2.0  # of the logarithm of the area against the given one


@dataclass(frozen=True)
class Calibration:
    """The map from what is measured of an object to its expected IoU: a logistic function that rises with each sign.

    With the defaults the expected IoU is the soft IoU, which needs no calibration and no evidence.

    Attributes:
        weights: weight of each of `SIGNS`, at least 0; absent ones are 0.
        bias: of the logistic function.
        evidence: mean and deviation of the method's evidence, by which it is standardised.
        lost: an object is lost where its expected IoU falls below this.
        found: and found again where it rises to this.
    """

    weights: Mapping[str, float] = field(default_factory=lambda: {"soft_iou": 1.0})
    bias: float = 0.0
    evidence: tuple[float, float] = (0.0, 1.0)
    lost: float = 0.4
    found: float = 0.5

    def __post_init__(self) -> None:
        unknown = sorted(set(self.weights) - set(SIGNS))
        if unknown or min(self.weights.values(), default=0.0) < 0:
            raise ValueError(f"weights are {dict(self.weights)}; give numbers from 0 for {', '.join(SIGNS)}")
        if not 0 <= self.lost <= self.found <= 1 or self.evidence[1] <= 0:
            raise ValueError("0 <= lost <= found <= 1 and a positive deviation of the evidence are needed")

    def expected_iou(self, signs: Mapping[str, Tensor]) -> Tensor:
        """Expected IoU, float32 ``(N,)``, 0..1.

        Args:
            signs: the values of `SIGNS`, ``(N,)`` each, as `measure` gives them; NaN where there is no evidence.
        """
        total = torch.full_like(signs["soft_iou"], self.bias)
        for name, weight in self.weights.items():
            total = total + weight * self._scaled(name, signs[name])
        return total.sigmoid()

    def _scaled(self, name: str, values: Tensor) -> Tensor:
        if name == "soft_iou":
            return torch.logit(values.clamp(1e-6, 1 - 1e-6)).clamp(-_LIMIT, _LIMIT)
        if name == "evidence":
            return ((values - self.evidence[0]) / self.evidence[1]).clamp(-3, 3).nan_to_num(0.0)
        return values

    def features(self, signs: Mapping[str, Tensor]) -> Tensor:
        """What the weights multiply, ``(N, 4)`` in the order of `SIGNS`; for fitting."""
        return torch.stack([self._scaled(name, signs[name]) for name in SIGNS], dim=-1)

    def to_json(self) -> str:
        """The content of its file."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """The calibration in a file; the default where there is none.

        Raises:
            UsageError: the file is not a calibration.
        """
        return cls.from_json(path.read_text(encoding="utf-8"), str(path)) if path.is_file() else cls()

    @classmethod
    def from_json(cls, text: str, source: str) -> Calibration:
        """The calibration in a text that `to_json` wrote.

        Args:
            text: the text.
            source: where it is from, for messages.

        Raises:
            UsageError: it is not a calibration.
        """
        try:
            found: dict[str, Any] = json.loads(text)
            weights = {str(name): float(weight) for name, weight in found["weights"].items()}
            mean, deviation = (float(value) for value in found["evidence"])
            return cls(weights, float(found["bias"]), (mean, deviation), float(found["lost"]), float(found["found"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{source}: is not a calibration ({error}); restore or delete it") from error


def measure(probabilities: Tensor, areas: Tensor, evidence: Tensor | None = None) -> dict[str, Tensor]:
    """What a frame's probabilities say about each object.

    Args:
        probabilities: float32 ``(N+1, H, W)``, background first.
        areas: pixels of each object where it was given, float32 ``(N,)``, as `mask_areas` counts them.
        evidence: the method's, ``(N,)``; None or NaN: it has none.

    Returns:
        See `signs`.
    """
    found = sums(probabilities[None, :, ::STRIDE, ::STRIDE])[:, 0]
    return signs(found, areas, torch.full_like(areas, torch.nan) if evidence is None else evidence.float())


def sums(seen: Tensor) -> Tensor:
    """What `signs` needs of frames: pixels and probabilities per object.

    Args:
        seen: probabilities of F frames on the grid, ``(F, N+1, h, w)``, background first.

    Returns:
        float32 ``(5, F, N)``: probability inside the mask, pixels of the mask, probability everywhere, pixels along the
        border, certainty along the border.
    """
    seen = seen.float()
    own = seen[:, 1:]
    masks = (own >= own.amax(dim=1, keepdim=True)) & (own > seen[:, :1]) if own.shape[1] else own > 0
    border = _borders(masks)
    return torch.stack(
        [_sums(own * masks), _sums(masks), _sums(own), _sums(border), _sums((2 * own - 1).abs() * border)]
    )


def signs(found: Tensor, areas: Tensor, evidence: Tensor) -> dict[str, Tensor]:
    """The signs of objects, from what `sums` found in frames.

    Args:
        found: ``(5, ...)``.
        areas: pixels of each object where it was given, as `mask_areas` counts them.
        evidence: the method's, ``(...)``; NaN: it has none.

    Returns:
        float32 ``(...)`` each. "soft_iou": probability inside the mask, by the mask's area and the probability outside
        of it: the IoU that the probabilities expect. "inside" and "border": mean certainty (2 p - 1 inside, its
        absolute value along the border). "shrink": logarithm of the area against the given one, -2..0. "evidence".
    """
    inside, area, total, edge, certain = found.unbind()
    return {
        "soft_iou": inside / (area + total - inside).clamp(min=1),
        "inside": ((2 * inside - area) / area.clamp(min=1)).clamp(min=0),
        "border": certain / edge.clamp(min=1),
        "shrink": ((area + 1) / (areas + 1)).log().clamp(_SMALLEST, 0),
        "evidence": evidence,
    }


def mask_areas(masks: Tensor) -> Tensor:
    """Pixels of masks ``(n, H, W)``, 0..1, on the grid of `measure`: float32 ``(n,)``."""
    return _sums(masks[:, ::STRIDE, ::STRIDE] > 0.5)


def _sums(maps: Tensor) -> Tensor:
    return maps.flatten(-2).sum(dim=-1, dtype=torch.float32)


def _borders(masks: Tensor) -> Tensor:
    """Pixels of bool masks ``(..., h, w)`` with another value beside them."""
    border = torch.zeros_like(masks)
    rows, columns = masks[..., 1:, :] != masks[..., :-1, :], masks[..., 1:] != masks[..., :-1]
    for part in (border[..., 1:, :], border[..., :-1, :]):
        part.bitwise_or_(rows)
    for part in (border[..., 1:], border[..., :-1]):
        part.bitwise_or_(columns)
    return border
