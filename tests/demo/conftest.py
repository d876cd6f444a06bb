"""A small video, a model whose masks are known, and a project of both."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.helpers.shifting_model import ShiftingModel
from vos_zoo.demo.project import Project
from vos_zoo.demo.shelf import ModelShelf

HEIGHT, WIDTH, LENGTH = 24, 40, 8


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames") / "clip"
    folder.mkdir()
    for number in range(LENGTH):
        Image.new("RGB", (WIDTH, HEIGHT), (10 * number, 0, 0)).save(folder / f"{number:05d}.png")
    return folder


@pytest.fixture
def model():
    return ShiftingModel()


@pytest.fixture
def shelf(model):
    return ModelShelf(lambda name: model, ["small", "large"])


@pytest.fixture
def project(shelf, video, tmp_path):
    return Project(shelf, tmp_path, video)
