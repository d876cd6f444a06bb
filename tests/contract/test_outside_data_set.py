"""A data set from a package of its own: the files of docs/adding-a-data-set.md, found by their entry point and used."""

from __future__ import annotations

import inspect
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from vos_zoo import dataset_registry
from vos_zoo.config.layers import available_data, load_config
from vos_zoo.dataset_registry import BUILT_IN, DatasetInfo, available_datasets, load_dataset
from vos_zoo.types import UsageError, VOSError

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "adding-a-data-set.md"

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="the tests run outside the repository: no page")


def install(folder: Path, project: str) -> None:
    """What an installer leaves of a package's entry points."""
    named = tomllib.loads(project)["project"]
    info = folder / f"{named['name'].replace('-', '_')}-{named['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {named['name']}\nVersion: {named['version']}\n")
    lines = [line for group, names in named["entry-points"].items() for line in (f"[{group}]", *_lines(names))]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def _lines(names: dict[str, str]) -> list[str]:
    return [f"{name} = {value}" for name, value in names.items()]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the page's package, which is on the path."""
    text = PAGE.read_text(encoding="utf-8")
    for block in re.findall(r"^```(?:toml|python)\n(# [\w./]+\.\w+\n.*?)^```", text, re.MULTILINE | re.DOTALL):
        first, _, content = block.partition("\n")
        path = tmp_path / first.removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    install(tmp_path, (tmp_path / "pyproject.toml").read_text(encoding="utf-8"))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two videos to train on and one to validate on, of a square that moves."""
    for split, names in (("train", ("a", "b")), ("val", ("c",))):
        (tmp_path / "videos" / split).mkdir(parents=True)
        for number, name in enumerate(names):
            labels = np.zeros((10, 40, 56), np.uint8)
            for index, frame in enumerate(labels):
                frame[10:22, 4 + 3 * index : 18 + 3 * index] = 2
            frames = np.random.default_rng(number).integers(0, 120, (*labels.shape, 3), dtype=np.uint8)
            frames[labels > 0] = 220
            np.savez(tmp_path / "videos" / split / f"{name}.npz", frames=frames, labels=labels)
    return tmp_path / "videos"


def test_an_outside_data_set_is_listed_and_has_a_configuration(installed: Path) -> None:
    assert available_datasets() == [*BUILT_IN, "arrays"] and available_data()[-1] == "arrays"
    config = load_config(data="arrays", overrides=["data.root=somewhere"])
    assert (config.data.name, config.data.root, config.data.val_split) == ("arrays", "somewhere", "val")
    with pytest.raises(UsageError, match=r"'data\.root' is not set and data set arrays needs it; give data\.root="):
        load_config(data="arrays")
    with pytest.raises(UsageError, match=r"unknown data set 'arrrays'; did you mean 'arrays'\?"):
        load_config(data="arrrays")


def test_an_outside_data_set_is_checked_trained_on_and_mixed(
    installed: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from vos_zoo.cli import main
    from vos_zoo.data.datamodule import VOSDataModule

    assert main(["check-data", str(videos), "--data", "arrays"]) == 0
    assert "arrays-train: 2 sequences, 20 frames, 20 with masks" in capsys.readouterr().out
    small = {"batch_size": 1, "workers": 0, "crop": {"size": [32, 48]}, "sampling": {"min_visible_factor": 1}}
    data = VOSDataModule("arrays", str(videos), **small)
    assert [video.name for video in data.videos("val")] == ["c"]
    assert data.clips()[0].frames.shape == (4, 3, 32, 48)
    mixed = VOSDataModule("synthetic", **small, mixture={"arrays": {"root": str(videos), "sequences": ["b"]}})
    assert [video.name for video in mixed.clips().sampler.datasets[0]] == ["b"]
    with pytest.raises(UsageError, match=r"data\.mask_threshold: 'arrays' has no such masks"):
        VOSDataModule("arrays", str(videos), mask_threshold=128).videos("val")


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("DATASET = 3", r"wrong does not define DATASET = DatasetInfo\(\.\.\.\)"),
        ("DATASET = DatasetInfo('right', 'x:y')", "calls itself 'right' in DATASET"),
        ("DATASET = DatasetInfo('wrong', 'x:y', options=('colour',))", "takes 'colour', which no key gives"),
    ],
)
def test_a_wrong_entry_point_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, definition: str, message: str
) -> None:
    (tmp_path / "wrong.py").write_text(f"from vos_zoo.dataset_registry import DatasetInfo\n{definition}\n")
    install(tmp_path, '[project]\nname="w"\nversion="1"\n[project.entry-points."vos_zoo.datasets"]\nwrong="wrong"\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wrong", raising=False)
    with pytest.raises(VOSError, match=message):
        load_dataset("wrong")


def no_data_set(root: object, split: str, **options: object) -> list[object]:
    return []


def test_what_opens_a_data_set_must_be_there_and_make_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from vos_zoo.data.opening import open_dataset

    openers = {"a": "math:nothing", "b": f"{__name__}:no_data_set"}
    wrong = {name: DatasetInfo(name, opener, generated=True) for name, opener in openers.items()}
    monkeypatch.setattr(dataset_registry, "BUILT_IN", wrong)
    with pytest.raises(VOSError, match="math has no 'nothing'"):
        open_dataset("a")
    with pytest.raises(VOSError, match="made a list; it must make a VideoDataset"):
        open_dataset("b")
    with pytest.raises(UsageError, match="unknown option 'colour'; there are sequences, skip_broken, year"):
        open_dataset("a", colour=3)


def test_the_openers_of_this_package_take_what_they_are_said_to_take() -> None:
    for info in BUILT_IN.values():
        taken = inspect.signature(info.load_opener()).parameters
        open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
        missing = {"split", *info.takes} - taken.keys()
        assert not missing or open_ended, f"{info.name}: {sorted(missing)}"
