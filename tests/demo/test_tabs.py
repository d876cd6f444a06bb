"""Tabs have projects of their own, and share the models that are loaded."""

from __future__ import annotations

import re

import pytest

from tests.demo.test_project import add_square, finish, square
from tests.helpers.shifting_model import ShiftingModel
from vos_zoo.demo.project import Project
from vos_zoo.demo.shelf import ModelShelf, offered_weights
from vos_zoo.demo.tabs import MAX_TABS, Tabs
from vos_zoo.types import UsageError


def test_tabs_do_not_mix_and_the_oldest_makes_room(shelf, video, tmp_path):
    tabs = Tabs(lambda folder: Project(shelf, folder, video), tmp_path)
    one, two = tabs.open(), tabs.open()
    add_square(tabs.project(one))
    assert tabs.project(one).annotations.sheet.objects and not tabs.project(two).annotations.sheet.objects
    assert tabs.open(one) == one and tabs.open("unknown") not in (one, two)
    tabs.project(one)
    for _ in range(MAX_TABS - 2):
        tabs.open()
    with pytest.raises(UsageError, match="reload the page"):
        tabs.project(two)
    assert tabs.project(one).annotations.sheet.objects and not (tmp_path / two).exists()
    tabs.close()
    assert not list(tmp_path.iterdir())


def test_models_are_loaded_once_and_few_are_held():
    loaded = []
    shelf = ModelShelf(lambda name: loaded.append(name) or ShiftingModel(), ["a", "b", "c"])
    assert shelf.model("a") is shelf.model("a")
    shelf.model("b"), shelf.model("c"), shelf.model("a")
    assert loaded == ["a", "b", "c", "a"]


def test_shipped_weights_are_offered_and_the_wanted_ones_lead():
    offered = offered_weights("my/model")
    assert next(iter(offered)) == "my/model" and "J&F" in offered["joint-small"]
    assert next(iter(offered_weights("pcvos-small"))) == "pcvos-small"


def test_the_best_weights_lead_and_what_must_be_downloaded_says_so():
    offered = offered_weights(None)
    scores = [float(found[1]) for text in offered.values() if (found := re.search(r"J&F ([\d.]+)", text))]
    assert scores == sorted(scores, reverse=True) and len(scores) >= 5
    assert all("J&F" in text for text in list(offered.values())[: len(scores)])
    assert "downloaded when used" in offered["lwl-youtubevos"] and "downloaded" not in offered["joint-small"]


def test_two_tabs_that_track_at_the_same_time_get_their_own_masks(shelf, video, tmp_path):
    one, two = Project(shelf, tmp_path / "1", video), Project(shelf, tmp_path / "2", video)
    add_square(one, left=4)
    add_square(two, left=20)
    one.track(0), two.track(0)
    finish(one), finish(two)
    assert (one.labels(7) == square(11)).all() and (two.labels(7) == square(27)).all()
