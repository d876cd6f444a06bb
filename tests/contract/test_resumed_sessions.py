"""A session goes on in another process, with every registered method and those of another package."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.helpers.contract import METHODS
from tests.helpers.contract_sessions import LENGTH, annotated, assert_same
from tests.helpers.contract_settings import Video, build_lively, moving_squares, toy_installed
from tests.helpers.threads import one_thread


@pytest.fixture(autouse=True, scope="module")
def alone() -> Iterator[None]:
    with one_thread(), toy_installed():
        yield


@pytest.fixture(scope="module")
def video() -> Video:
    return moving_squares(LENGTH)


def test_another_process_goes_on_to_the_bit(video: Video, tmp_path: Path) -> None:
    models = {method: build_lively(method) for method in METHODS}
    for method, model in models.items():
        cut = annotated(model, video, tmp_path / method)
        cut.run(0, 7, 1)
        cut.save()
    code = f"from tests.contract.test_resumed_sessions import go_on; go_on({str(tmp_path)!r}, {METHODS!r})"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
    for method, model in models.items():
        whole = annotated(model, video)
        whole.run(direction=1)
        assert_same(model.load_session(tmp_path / method, video.frames), whole)


def go_on(folder: str, methods: list[str]) -> None:
    """Run in another process: continue the sessions in a folder to the end, and save them."""
    torch.set_num_threads(1)
    video = moving_squares(LENGTH)
    with toy_installed():
        for method in methods:
            session = build_lively(method).load_session(Path(folder) / method, video.frames)
            session.run(direction=1)
            session.save()
