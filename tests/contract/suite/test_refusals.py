"""Every method refuses what it cannot do, by name, before it starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers.contract import run
from tests.helpers.contract_settings import (
    build,
    moving_squares,
)
from vos_zoo.model import VOSModel
from vos_zoo.types import UsageError

# -- refusals --------------------------------------------------------------------------------------------------------


def test_an_unknown_hyper_parameter_or_setting_is_refused_by_name(method: str, model: VOSModel) -> None:
    with pytest.raises(UsageError, match="no_such_parameter"):
        build(method, no_such_parameter=1)
    with pytest.raises(UsageError, match="no_such_setting"):
        run(model, moving_squares(1), no_such_setting=1)
    with pytest.raises(UsageError, match="preset"):
        run(model, moving_squares(1), preset="fastest")


def test_tracking_without_a_prompt_is_refused_before_a_frame_is_read(model: VOSModel) -> None:
    def frames() -> Iterator[Any]:
        raise AssertionError("a frame was read")
        yield

    with pytest.raises(UsageError, match="nothing to track"):
        model.track(frames(), {})


def test_a_prompt_after_the_end_of_the_video_is_reported(model: VOSModel) -> None:
    video = moving_squares(2)
    with pytest.raises(UsageError, match="frame 5"):
        run(model, video, {0: video.labels[0], 5: video.labels[0]})
