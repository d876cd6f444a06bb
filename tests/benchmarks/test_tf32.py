"""The emulation of TF32: factors have 10 bits of mantissa, sums do not."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from benchmarks.tf32 import Rounded, tf32


def test_numbers_are_rounded_to_the_nearest_of_ten_bits_halves_away_from_zero() -> None:
    step = 2.0**-10
    given = torch.tensor([1.0, 1 + step / 2, -1 - step / 2, 1 + step / 2.1, 3.0, 0.0, 1e-20, -5e30])
    found = tf32(given)
    assert found[:6].tolist() == [1.0, 1 + step, -1 - step, 1.0, 3.0, 0.0]
    assert ((found - given).abs() <= given.abs() * step / 2).all()
    assert torch.equal(tf32(found), found)
    assert torch.equal(tf32(torch.tensor([3])), torch.tensor([3])), "other formats stay"


def test_factors_of_products_and_convolutions_are_rounded_and_what_is_added_is_not() -> None:
    torch.manual_seed(0)
    image, weight, bias = torch.randn(1, 3, 6, 7), torch.randn(4, 3, 3, 3), torch.randn(4)
    left, right, start = torch.randn(2, 5, 6), torch.randn(2, 6, 3), torch.randn(2, 5, 3)
    expected = [
        F.conv2d(tf32(image), tf32(weight), bias, padding=1),
        tf32(left) @ tf32(right),
        torch.baddbmm(start, tf32(left), tf32(right)),
        F.linear(tf32(left), tf32(right[0].T)),
    ]
    with torch.no_grad(), Rounded() as rounded:
        found = [
            F.conv2d(image, weight, bias, padding=1),
            left @ right,
            torch.baddbmm(start, left, right),
            F.linear(left, right[0].T),
        ]
    for one, two in zip(expected, found, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-6, atol=1e-6)
    assert sum(rounded.counts.values()) == 4
