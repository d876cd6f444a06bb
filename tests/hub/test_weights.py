"""Weights by name, address, hub id and age: what is found is loaded, what is not is said how to get."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from torch import Tensor

import tests.helpers.toy_model as toy
from tests.helpers.contract_settings import moving_squares, toy_installed
from tests.helpers.unruly_server import Site
from vos_zoo.cli import main
from vos_zoo.create import convert_checkpoint, create_model
from vos_zoo.downloads import drive
from vos_zoo.hub import pretrained
from vos_zoo.hub.formats import FORMAT_VERSION, MIGRATIONS, migrate
from vos_zoo.hub.result_masks import published_masks
from vos_zoo.hub.weights import find_weights, known_weights, published_weights
from vos_zoo.model import VOSModel
from vos_zoo.registry import WeightsEntry, available_methods, load_method
from vos_zoo.tasks.leaderboard import published_rows
from vos_zoo.types import Conversion, UsageError, VOSError

OLD = Path(__file__).resolve().parents[1] / "fixtures" / "format_1"
AUTHORS = WeightsEntry(
    name="toy-authors",
    file="toy_authors.pth",
    page="https://example.org/toy",
    licence="GPL-3.0",
    about="the authors' toy",
    track={"short_edge": 40},
    published={"davis17": {"J&F": 12.3}},
)


def convert(state: Mapping[str, Tensor]) -> Conversion:
    """The toy's authors write every name in capitals."""
    return Conversion({"channels": 4}, {"preset": "paper"}, {name.lower(): name for name in state})


@pytest.fixture(autouse=True)
def _toy(online: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(
        toy, "METHOD", replace(toy.METHOD, converter="tests.hub.test_weights:convert", weights=(AUTHORS,))
    )
    with toy_installed():
        yield


@pytest.fixture
def small() -> VOSModel:
    torch.manual_seed(1)
    return create_model("toy", channels=4, track={"short_edge": 48})


def same(one: VOSModel, other: VOSModel) -> bool:
    first, second = one.network.state_dict(), other.network.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def write_authors_file(model: VOSModel, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name.upper(): tensor for name, tensor in model.network.state_dict().items()}, path)


def test_every_entry_of_the_tables_is_complete_and_has_a_name_of_its_own() -> None:
    everything = published_weights()
    names = [each.known.name for each in known_weights()]
    assert len(names) == len(set(names))
    assert not {name for name in names if name in available_methods() and find_weights(name).method != name}  # type: ignore[union-attr]
    for each in everything:
        known = each.known
        assert known.page.startswith("https://") and known.file and known.licence and known.about
        assert known.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", known.sha256)
        assert all(0 < value <= 100 for scores in known.published.values() for value in scores.values())
        load_method(each.method).load_target_model().settings_type  # noqa: B018
        assert not known.converted or callable(load_method(each.method).load_converter())


def test_the_scores_in_the_tables_are_the_boards_published_rows() -> None:
    titles = {
        "davis16": "davis2016-val",
        "davis17": "davis2017-val",
        "youtube_vos18": "youtube_vos2018-valid",
        "youtube_vos19": "youtube_vos2019-valid",
    }
    rows = {(row.method, row.data, name, value) for row in published_rows() for name, value in row.scores.items()}
    for each in published_weights():
        for data, scores in each.known.published.items() if each.method != "toy" else ():
            for name, value in scores.items():
                assert (each.method, titles[data], name, value) in rows, f"{each.known.name}: {name} {value} on {data}"


def test_the_settings_in_the_tables_are_settings_of_the_methods() -> None:
    for each in published_weights():
        model = load_method(each.method).load_target_model()
        assert each.known.track.get("preset", "paper") in model.presets, each.known.name


def test_what_is_missing_is_listed_with_the_way_to_get_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["weights"]) == 0
    text = capsys.readouterr().out
    for each in published_weights():
        state = "to download" if each.known.url else "missing"
        assert re.search(rf"^{each.known.name} .*{state}", text, re.MULTILINE)
    for masks in published_masks():
        assert re.search(rf"^{masks.known.name} .*to download", text, re.MULTILINE)
    assert f"get toy_authors.pth from https://example.org/toy and put it at {tmp_path / 'home'}" in text
    assert main(["weights", "toy"]) == 0
    text = capsys.readouterr().out
    assert "published  davis17: J&F 12.3" in text and "GPL-3.0" in text
    assert main(["test", "--weights", "toy-authors", "--data", "davis17", "data.root=nowhere"]) == 2
    assert "get toy_authors.pth from https://example.org/toy" in capsys.readouterr().err
    assert main(["weights", "toy-author"]) == 2
    assert "did you mean 'toy-authors'" in capsys.readouterr().err


def test_the_authors_file_is_converted_once_when_its_name_is_first_used(
    small: VOSModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=r"get toy_authors\.pth from https://example\.org/toy and put it at"):
        VOSModel.from_pretrained("toy-authors")
    file = tmp_path / "home" / "files" / "toy_authors.pth"
    write_authors_file(small, file)
    found = find_weights("toy")
    assert found is not None and found.state == "to convert"
    loaded = VOSModel.from_pretrained("toy")
    assert same(loaded, small) and not loaded.training
    assert loaded.track_settings().short_edge == 40  # type: ignore[attr-defined]
    assert find_weights("toy-authors").state == "ready"  # type: ignore[union-attr]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    file.unlink()
    again = VOSModel.from_pretrained("toy-authors", track={"short_edge": 44})
    assert same(again, small) and again.track_settings().short_edge == 44  # type: ignore[attr-defined]
    assert again.origin["sha256"] == digest and again.origin["licence"] == "GPL-3.0"
    assert main(["weights"]) == 0
    assert re.search(r"^toy-authors .*ready", capsys.readouterr().out, re.MULTILINE)
    assert [path.name for path in (tmp_path / "home" / "models").iterdir()] == ["toy-authors"]


def test_a_file_that_is_not_the_authors_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "home" / "files" / "toy_authors.pth"
    file.parent.mkdir(parents=True)
    torch.save({"HEAD.WEIGHT": torch.ones(1)}, file)
    with pytest.raises(UsageError, match="lacks the entry"):
        VOSModel.from_pretrained("toy-authors")
    assert not (tmp_path / "home" / "models").exists()


def test_authors_files_by_name_are_downloaded_by_themselves_and_their_first_download_is_recorded(
    small: VOSModel, tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_authors_file(small, tmp_path / "w.pth")
    site.files["/uc?export=download&id=abc"] = (tmp_path / "w.pth").read_bytes()
    monkeypatch.setattr(drive, "SITE", site.address)
    known = replace(AUTHORS, url=f"{site.address}/file/d/abc/view")
    monkeypatch.setattr(toy, "METHOD", replace(toy.METHOD, weights=(known,)))
    load_method.cache_clear()
    assert same(VOSModel.from_pretrained("toy-authors"), small)
    told = capfd.readouterr().err
    assert known.url in told and "licence: GPL-3.0" in told and known.page in told and told.count("\n") == 1
    kept = tmp_path / "home" / "downloads" / "toy-authors"
    assert (kept / "toy_authors.pth.lock.json").is_file()
    shutil.rmtree(tmp_path / "home" / "models")
    (kept / "toy_authors.pth").unlink()
    site.files["/uc?export=download&id=abc"] = b"PK rubbish"
    with pytest.raises(VOSError, match=r"the file changed: .*; or get toy_authors\.pth from https://example\.org/toy"):
        VOSModel.from_pretrained("toy-authors")


def test_an_authors_file_that_is_cut_off_is_neither_recorded_nor_kept(
    small: VOSModel, tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_authors_file(small, tmp_path / "w.pth")
    site.files["/w.pth"] = (tmp_path / "w.pth").read_bytes()
    site.faults["/w.pth"] = ["short"]
    known = replace(AUTHORS, url=f"{site.address}/w.pth")
    monkeypatch.setattr(toy, "METHOD", replace(toy.METHOD, weights=(known,)))
    load_method.cache_clear()
    with pytest.raises(VOSError, match="the file is damaged or incomplete"):
        VOSModel.from_pretrained("toy-authors")
    assert same(VOSModel.from_pretrained("toy-authors"), small)


@pytest.mark.parametrize("converted", [True, False])
def test_published_weights_with_an_address_are_downloaded(
    small: VOSModel, tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, converted: bool
) -> None:
    if converted:
        write_authors_file(small, tmp_path / "w" / "toy_authors.pth")
        content = (tmp_path / "w" / "toy_authors.pth").read_bytes()
    else:
        small.save_pretrained(tmp_path / "w")
        content = (tmp_path / "w" / "model.safetensors").read_bytes()
    name = "toy_authors.pth" if converted else "model.safetensors"
    site.files[f"/{name}"] = content
    known = replace(
        AUTHORS,
        file=name,
        url=f"{site.address}/{name}",
        sha256=hashlib.sha256(content).hexdigest(),
        converted=converted,
    )
    monkeypatch.setattr(toy, "METHOD", replace(toy.METHOD, weights=(known,)))
    load_method.cache_clear()
    assert find_weights("toy").state == "to download"  # type: ignore[union-attr]
    assert same(VOSModel.from_pretrained("toy"), small)
    assert same(VOSModel.from_pretrained("toy"), small)
    assert len(site.asked) == 1 and find_weights("toy").state == "ready"  # type: ignore[union-attr]


def test_an_address_with_its_digest_is_a_model(small: VOSModel, tmp_path: Path, site: Site) -> None:
    small.save_pretrained(tmp_path)
    content = (tmp_path / "model.safetensors").read_bytes()
    site.files["/m/model.safetensors"] = content
    address, digest = f"{site.address}/m/model.safetensors", hashlib.sha256(content).hexdigest()
    loaded = VOSModel.from_pretrained(address, sha256=digest)
    assert same(loaded, small) and loaded.method == "toy"
    assert same(VOSModel.from_pretrained(f"{address}#sha256={digest}"), small)
    with pytest.raises(UsageError, match="without its digest"):
        VOSModel.from_pretrained(address)
    with pytest.raises(VOSError, match="SHA-256"):
        VOSModel.from_pretrained(address, sha256="0" * 64)


def test_an_authors_file_at_an_address_goes_through_the_conversion(small: VOSModel, tmp_path: Path, site: Site) -> None:
    write_authors_file(small, tmp_path / "x.pth")
    content = (tmp_path / "x.pth").read_bytes()
    site.files["/x.pth"] = content
    address = f"{site.address}/x.pth#sha256={hashlib.sha256(content).hexdigest()}"
    with pytest.raises(UsageError, match="vos-zoo convert"):
        VOSModel.from_pretrained(address)
    assert same(convert_checkpoint(address, method="toy"), small)


def test_a_digest_without_an_address_is_refused(small: VOSModel, tmp_path: Path) -> None:
    small.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="sha256 belongs to an address"):
        VOSModel.from_pretrained(tmp_path, sha256="0" * 64)


def test_the_weights_file_alone_is_a_model(small: VOSModel, tmp_path: Path) -> None:
    small.save_pretrained(tmp_path / "saved")
    shutil.copy(tmp_path / "saved" / "model.safetensors", tmp_path / "alone.safetensors")
    loaded = VOSModel.from_pretrained(tmp_path / "alone.safetensors")
    assert same(loaded, small) and loaded.track_settings().short_edge == 48  # type: ignore[attr-defined]
    save_file(load_file(tmp_path / "alone.safetensors"), tmp_path / "bare.safetensors")
    with pytest.raises(UsageError, match="does not say how its model is built"):
        VOSModel.from_pretrained(tmp_path / "bare.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"1234")
    with pytest.raises(UsageError, match=r"broken\.safetensors"):
        VOSModel.from_pretrained(tmp_path / "broken.safetensors")


@pytest.mark.parametrize("part", ["", "model.safetensors"])
def test_a_folder_of_the_first_format_still_loads_and_is_saved_in_todays(tmp_path: Path, part: str) -> None:
    model = VOSModel.from_pretrained(OLD / part)
    assert model.origin == {} and model.optim == {"groups": {"head": 0.001}}
    assert model.track_settings().short_edge == 64  # type: ignore[attr-defined]
    state = load_file(OLD / "model.safetensors")
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    video = moving_squares(2)
    assert len(list(model.track(video.frames, {0: video.labels[0]}))) == 2
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    old = json.loads((OLD / "config.json").read_text())
    assert config["format_version"] == FORMAT_VERSION > old["format_version"] == 1
    assert {name: config[name] for name in ("method", "model", "track", "optim")} == {
        name: old[name] for name in ("method", "model", "track", "optim")
    }


def test_every_format_before_todays_has_its_migration() -> None:
    assert sorted(MIGRATIONS) == list(range(1, FORMAT_VERSION))
    assert migrate({"method": "toy"}, "x")["format_version"] == FORMAT_VERSION, "the first ones had no number"
    today = {"format_version": FORMAT_VERSION, "method": "toy", "origin": {"file": "x"}}
    assert migrate(dict(today), "x") == today


def test_a_later_format_is_refused_with_the_cure(small: VOSModel, tmp_path: Path) -> None:
    small.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "format_version": FORMAT_VERSION + 1}))
    with pytest.raises(UsageError, match="update vos-zoo"):
        VOSModel.from_pretrained(tmp_path)


def test_a_save_that_breaks_off_leaves_the_earlier_model_whole(
    small: VOSModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.save_pretrained(tmp_path)

    def half(state: Any, path: Path, **_: Any) -> None:
        path.write_bytes(b"half")
        raise OSError("no space")

    monkeypatch.setattr(pretrained, "save_file", half)
    with pytest.raises(OSError, match="no space"):
        create_model("toy", channels=4).save_pretrained(tmp_path)
    monkeypatch.undo()
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]
    assert load_file(tmp_path / "model.safetensors").keys() == small.state_dict().keys()


def test_converted_weights_carry_their_licence_and_origin_in_the_card(small: VOSModel, tmp_path: Path) -> None:
    small.save_pretrained(tmp_path / "own")
    assert "licence" not in (tmp_path / "own" / "README.md").read_text()
    write_authors_file(small, tmp_path / "toy_authors.pth")
    converted = convert_checkpoint(tmp_path / "toy_authors.pth", method="toy")
    converted.save_pretrained(tmp_path / "theirs")
    card = ModelCard.load(tmp_path / "theirs" / "README.md")
    assert card.data.license == "gpl-3.0" and card.data.library_name == "vos-zoo"
    assert "toy_authors.pth" in card.text and converted.origin["sha256"] in card.text
    assert VOSModel.from_pretrained(tmp_path / "theirs").origin == converted.origin
    unknown = convert_checkpoint(
        {k.upper(): v for k, v in small.network.state_dict().items()}, "toy", origin={"file": "x"}
    )
    unknown.save_pretrained(tmp_path / "unknown")
    assert ModelCard.load(tmp_path / "unknown" / "README.md").data.license == "other"
