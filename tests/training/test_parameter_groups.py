"""Groups of parameters by prefix, their rates, and what is frozen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import nn

from tests.helpers.contract_settings import build
from vos_zoo.training.optimisation import freeze_unnamed, parameter_groups
from vos_zoo.types import UsageError

# -- optimisation groups ---------------------------------------------------------------------------------------------


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.body2 = nn.Linear(2, 2)
        self.head = nn.Linear(2, 1)


def trainable(network: nn.Module) -> set[str]:
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


def test_the_longest_prefix_gives_the_rate_and_what_none_names_is_frozen() -> None:
    network, groups = Parts(), {"body": 1e-2, "body.1": 1e-3}
    freeze_unnamed(network, groups)
    assert trainable(network) == {"body.0.weight", "body.0.bias", "body.1.weight", "body.1.bias"}
    found = {group["name"]: (group["lr"], len(group["params"])) for group in parameter_groups(network, groups)}
    assert found == {"body": (1e-2, 2), "body.1": (1e-3, 2)}


def test_an_empty_prefix_names_everything_and_a_rate_of_zero_freezes() -> None:
    network, groups = Parts(), {"": 1e-4, "body": 0.0}
    freeze_unnamed(network, groups)
    assert trainable(network) == {"body2.weight", "body2.bias", "head.weight", "head.bias"}
    (group,) = parameter_groups(network, groups)
    assert (group["name"], group["lr"], len(group["params"])) == ("all", 1e-4, 4)


def test_prefixes_are_whole_names_and_unknown_ones_are_refused() -> None:
    network = Parts()
    freeze_unnamed(network, {"body": 1e-3, "bod": 1e-3, "hea": 1e-3})
    assert not trainable(network) & {"body2.weight", "head.weight"}
    with pytest.raises(UsageError, match=r"'decode'.*backbone.*decoder"):
        build("lwl", optim={"groups": {"decode": 1e-3}}).setup("fit")


def test_training_nothing_is_refused() -> None:
    network, groups = Parts(), {"head": 0.0}
    freeze_unnamed(network, groups)
    with pytest.raises(UsageError, match="nothing to train"):
        parameter_groups(network, groups)


def test_rates_fall_by_gamma_at_the_milestones() -> None:
    optim = {"groups": {"decoder": 1e-3, "learner": 1e-4}, "milestones": [2], "gamma": 0.1}
    model = build("lwl", optim=optim)
    model.setup("fit")
    configured: Any = model.configure_optimizers()
    rates = []
    for _ in range(4):
        rates.append([group["lr"] for group in configured["optimizer"].param_groups])
        configured["optimizer"].step()
        configured["lr_scheduler"]["scheduler"].step()
    np.testing.assert_allclose(rates, [[1e-3, 1e-4]] * 2 + [[1e-4, 1e-5]] * 2)
