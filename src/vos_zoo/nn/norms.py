"""Norms with correct gradients: frozen batch norm, token instance norm, instance L2 norm."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.nn.precision import full_precision


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that always uses its running statistics, also in training mode; its affine part can be trained.

    With gradients it is computed as an affine map: torch's backward is silently wrong on the CPU for
    some memory layouts with a batch of one.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, C, h, w)``; the result has the format of `x`, the arithmetic at least float32."""
        assert self.running_mean is not None and self.running_var is not None
        if not torch.is_grad_enabled():
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        scale, shift = self.as_affine()
        return torch.addcmul(shift[:, None, None], x, scale[:, None, None]).to(x.dtype)

    def as_affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of every channel, each ``(C,)``."""
        assert self.running_mean is not None and self.running_var is not None
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale


def folded(conv: nn.Conv2d, norm: FrozenBatchNorm2d) -> tuple[Tensor, Tensor]:
    """Filter and bias of a convolution with the frozen norm after it folded in."""
    scale, shift = norm.as_affine()
    if conv.bias is not None:
        shift = torch.addcmul(shift, conv.bias, scale)
    return conv.weight * scale[:, None, None, None], shift


def token_instance_norm(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Instance norm of tokens: every channel gets mean 0 and (biased) variance 1 over the pixel axis.

    Computed with explicit statistics: torch's instance norm returns wrong gradients on the CPU, without a message,
    for gradients in token order.

    Args:
        x: ``(..., P, C)``, P pixels.
        eps: added to the variance.
    """
    centred = x - x.mean(dim=-2, keepdim=True)
    return centred * (centred.square().mean(dim=-2, keepdim=True) + eps).rsqrt()


def instance_l2_norm(x: Tensor, scale: float, eps: float = 1e-5) -> Tensor:
    """Scale each image's features to root mean square `scale` (docs/methods/lwl.md, "Backbone").

    Args:
        x: ``(B, C, h, w)``; sums run over C, h, w in float32 at least.
        scale: RMS of the result.
        eps: added to the sum of squares.
    """
    wide = full_precision(x)
    energy = wide.square().sum(dim=(1, 2, 3), keepdim=True)
    return (wide * (scale * (x[0].numel() / (energy + eps)).sqrt())).to(x.dtype)
