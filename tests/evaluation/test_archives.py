"""Archives for the evaluation servers: written, checked, and refused when spoiled."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.contract_settings import settings_of
from tests.helpers.known_trackers import Squares, perfect
from tests.helpers.late_videos import DAVIS, YOUTUBE, quiet
from tests.helpers.youtube_videos import SIZE, Late, lagging, write_meta
from vos_zoo.cli import main
from vos_zoo.create import create_model
from vos_zoo.evaluation import check_submission, protocol_of, write_archive
from vos_zoo.metrics import evaluate_youtube_vos
from vos_zoo.registry import available_methods
from vos_zoo.types import UsageError, VOSError
from vos_zoo.video.masks import write_mask

# -- archives --------------------------------------------------------------------------------------------------------


@pytest.fixture
def hidden(tmp_path: Path) -> tuple[list[Late], Path]:
    """Two videos without public truth, and the masks of a run."""
    videos = [Late("abc", truth=False), Late("xyz", starts={3: 0}, kinds={3: "dog"}, truth=False)]
    quiet(lagging, videos, output=tmp_path / "out", protocol=YOUTUBE)
    return videos, tmp_path / "out" / "masks"


def test_the_youtube_archive_has_one_top_folder_and_the_listed_frames_only(
    hidden: tuple[list[Late], Path], tmp_path: Path
) -> None:
    videos, masks = hidden
    path = write_archive(masks, videos, YOUTUBE.form, tmp_path / "one.zip")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert names == [f"Annotations/abc/{t:05d}.png" for t in (5, 10, 15, 20)] + [
            f"Annotations/xyz/{t:05d}.png" for t in (0, 5, 10, 15, 20)
        ]
        with Image.open(archive.open(names[0])) as image:
            assert image.mode == "P" and image.size == (SIZE[1], SIZE[0])
    assert check_submission(path, videos, YOUTUBE.form).sound
    assert write_archive(masks, videos, YOUTUBE.form, tmp_path / "two.zip").read_bytes() == path.read_bytes()
    (masks / "abc" / "00015.png").unlink()
    with pytest.raises(VOSError, match=r"00015\.png"):
        write_archive(masks, videos, YOUTUBE.form, tmp_path / "three.zip")
    assert not list(tmp_path.glob("*three*")) and not list(tmp_path.glob("*.tmp"))


def test_the_davis_archive_has_the_sequences_at_its_top_and_every_frame(tmp_path: Path) -> None:
    videos = [Squares("a", truth=False), Squares("b", truth=False)]
    quiet(perfect, videos, output=tmp_path, protocol=DAVIS)
    path = write_archive(tmp_path / "masks", videos, DAVIS.form, tmp_path / "s.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"{v.name}/{name}.png" for v in videos for name in v.frame_names]
    checked = check_submission(path, videos, DAVIS.form)
    assert checked.sound and (checked.sequences, checked.masks) == (2, 16)


def repack(source: Path, target: Path, change: Callable[[dict[str, bytes]], Any]) -> Path:
    """A copy of an archive whose entries were changed."""
    with zipfile.ZipFile(source) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return target


def png(labels: Any, mode: str = "P", palette: bool = True) -> bytes:
    from io import BytesIO

    from vos_zoo.video.masks import davis_palette

    image = Image.fromarray(np.asarray(labels, dtype=np.uint8))
    if mode == "P":
        image.putpalette(davis_palette() if palette else [value for i in range(256) for value in (i, i, i)])
    buffer = BytesIO()
    (image.convert("RGB") if mode == "RGB" else image).save(buffer, format="PNG")
    return buffer.getvalue()


A, LAST = "Annotations/abc/00005.png", "Annotations/abc/00020.png"
FAULTS: dict[str, tuple[Callable[[dict[str, bytes]], Any], str]] = {
    "a missing frame": (lambda e: e.pop(LAST), r"abc: 1 masks are missing, the first is 00020\.png"),
    "a missing video": (
        lambda e: [e.pop(name) for name in list(e) if "/xyz/" in name],
        "xyz: the sequence is missing",
    ),
    "an unknown video": (lambda e: e.update({"Annotations/other/00000.png": e[A]}), "is not in a folder of a sequence"),
    "an unknown frame": (lambda e: e.update({"Annotations/abc/99999.png": e[LAST]}), "belong to no frame"),
    "another size": (lambda e: e.update({LAST: png(np.zeros((20, 32)))}), "is 32x20 .* the frame 64x40"),
    "a colour picture": (lambda e: e.update({LAST: png(np.zeros(SIZE), "RGB")}), "mode RGB, not a palette PNG"),
    "a grey picture": (lambda e: e.update({LAST: png(np.zeros(SIZE), "L")}), "is a grey PNG"),
    "an unknown id": (lambda e: e.update({LAST: png(np.full(SIZE, 9))}), "has the ids 9; given up to this frame: 2, 7"),
    "an id before its time": (
        lambda e: e.update({A: png(np.full(SIZE, 2))}),
        "has the ids 2; given up to this frame: 7",
    ),
    "another first mask": (lambda e: e.update({A: png(np.zeros(SIZE))}), r"00005\.png: differs from the given mask"),
    "a broken picture": (lambda e: e.update({LAST: e[LAST][:60]}), "cannot be read as an image"),
    "rubbish of a system": (lambda e: e.update({"__MACOSX/._x": b""}), "does not belong in an archive"),
    "no top folder": (
        lambda e: [e.update({name.removeprefix("Annotations/"): e.pop(name)}) for name in list(e)],
        "must be in one folder 'Annotations'",
    ),
    "another top folder": (
        lambda e: [e.update({name.replace("Annotations", "results"): e.pop(name)}) for name in list(e)],
        "in the folder 'results'",
    ),
    "a path that climbs": (lambda e: e.update({"Annotations/../abc.png": b""}), "is not in a folder"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_spoiled_archive_is_refused_with_the_reason(
    hidden: tuple[list[Late], Path], tmp_path: Path, fault: str
) -> None:
    videos, masks = hidden
    change, message = FAULTS[fault]
    path = write_archive(masks, videos, YOUTUBE.form, tmp_path / "sound.zip")
    checked = check_submission(repack(path, tmp_path / "spoiled.zip", change), videos, YOUTUBE.form)
    assert not checked.sound
    assert re.search(message, str(checked)), str(checked)


def test_what_does_no_harm_is_only_noted(hidden: tuple[list[Late], Path], tmp_path: Path) -> None:
    videos, masks = hidden
    path = write_archive(masks, videos, YOUTUBE.form, tmp_path / "sound.zip")
    more = {"Annotations/abc/00011.png": png(np.full(SIZE, 7)), LAST: png(np.full(SIZE, 7), palette=False)}
    checked = check_submission(repack(path, tmp_path / "more.zip", lambda e: e.update(more)), videos, YOUTUBE.form)
    assert checked.sound
    assert "1 masks are not requested" in str(checked) and "another colour table" in str(checked)


def test_a_common_folder_above_the_davis_sequences_is_refused(tmp_path: Path) -> None:
    videos = [Squares("a", truth=False)]
    quiet(perfect, videos, output=tmp_path, protocol=DAVIS)
    path = write_archive(tmp_path / "masks", videos, DAVIS.form, tmp_path / "s.zip")
    spoiled = repack(path, tmp_path / "t.zip", lambda e: [e.update({f"davis/{n}": e.pop(n)}) for n in list(e)])
    checked = check_submission(spoiled, videos, DAVIS.form)
    assert not checked.sound and "must be at the top" in str(checked)
    assert len(checked.faults) == 1, "the rest is looked at all the same, and is in order"


def test_a_folder_of_one_object_masks_may_say_255(tmp_path: Path) -> None:
    video = Squares("a", starts={1: 0})
    for index, name in enumerate(video.frame_names):
        write_mask(tmp_path / "a" / f"{name}.png", np.where(video._all(index) > 0, 255, 0))
    assert check_submission(tmp_path, [video], protocol_of("davis", 2016).form, server=False).sound
    assert check_submission(tmp_path, [video], protocol_of("folder", 2017).form, server=False).sound
    assert not check_submission(tmp_path, [video], DAVIS.form).sound
    write_mask(tmp_path / "a" / f"{video.frame_names[-1]}.png", 2 * (video._all(len(video) - 1) > 0))
    assert not check_submission(tmp_path, [video], protocol_of("davis", 2016).form, server=False).sound


def test_what_is_no_archive_is_a_wrong_request(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_text("no zip")
    with pytest.raises(UsageError, match="is not a readable zip"):
        check_submission(tmp_path / "x.zip", [Squares()], DAVIS.form)
    with pytest.raises(UsageError, match="there is no such archive"):
        check_submission(tmp_path / "y.zip", [Squares()], DAVIS.form)


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with random weights."""
    small = {"backbone": "timm:resnet10t", "feature_channels": 16, "label_channels": 4, "label_widths": [4, 4, 8]}
    folder = tmp_path_factory.mktemp("tiny") / "model"
    model = create_model("lwl", track={"size": (32, 64), "first_iterations": 1}, decoder_width=4, **small)
    model.save_pretrained(folder)
    return folder


def test_an_archive_of_a_split_without_truth_is_written_by_test_and_checked_by_its_command(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["data.synthetic.size=[48,80]", "data.synthetic.frames=5", "data.synthetic.test_videos=2"]
    settings += ["data.synthetic.train_videos=1", "data.synthetic.val_videos=1", "data.synthetic.late_objects=0"]
    assert main(["make-data", "synthetic", "--output", str(tmp_path / "davis"), *settings]) == 0
    for folder in (tmp_path / "davis" / "Annotations" / "480p").iterdir():
        for mask in sorted(folder.iterdir())[1:] if "test" in folder.name else []:
            mask.unlink()
    data = ["--data", "davis17", f"data.root={tmp_path / 'davis'}", "data.test_split=test"]
    words = ["test", "--weights", str(tiny), "--output", str(tmp_path / "out"), *data]
    assert main([*words, "trainer.accelerator=cpu"]) == 0
    text = capsys.readouterr().out
    assert "no ground truth" in text and "can be submitted" in text and "submission.zip" in text
    assert main(["check-submission", str(tmp_path / "out" / "submission.zip"), *data]) == 0
    assert main(["check-submission", str(tmp_path / "out" / "masks"), *data]) == 0
    shutil.rmtree(next((tmp_path / "out" / "masks").iterdir()))
    assert main(["check-submission", str(tmp_path / "out" / "masks"), *data]) == 1
    assert "the sequence is missing" in capsys.readouterr().out


def write_youtube(root: Path) -> None:
    """A folder of YouTube-VOS: one held-out training video, one of valid with its frames at full rate."""
    held = Late("031ccc99b1", sampled=True)
    write_meta([held], root / "train")
    write_frames(held, root / "train")
    hidden = Late("2bf8bf0a3c", truth=False, count=18)
    write_meta([Late("2bf8bf0a3c", count=18)], root / "valid")
    for mask in (root / "valid" / "Annotations" / hidden.name).iterdir():
        given = hidden.prompts().get(int(mask.stem))
        mask.unlink()
        if given is not None:
            write_mask(mask, given)
    write_frames(hidden, root / "valid", every=5)
    write_frames(hidden, root / "valid_all_frames")


def write_frames(video: Late, folder: Path, every: int = 1) -> None:
    for index, name in list(enumerate(video.frame_names))[::every]:
        path = folder / "JPEGImages" / video.name / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(video.frame(index)).save(path)


@pytest.mark.parametrize("method", available_methods())
def test_every_method_writes_a_sound_archive_of_late_objects_and_of_wanted_frames(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(method)
    create_model(method, track=dict(settings.track), **settings.model).save_pretrained(tmp_path / "model")
    write_youtube(tmp_path)
    data = ["--data", "youtube_vos18", f"data.root={tmp_path}", "trainer.accelerator=cpu"]
    assert main(["test", "--weights", str(tmp_path / "model"), *data, "--output", str(tmp_path / "run")]) == 0
    assert "can be submitted" in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / "run" / "submission.zip") as archive:
        assert archive.namelist() == [f"Annotations/2bf8bf0a3c/{t:05d}.png" for t in (5, 10, 15)]


def test_youtube_vos_gives_an_archive_where_the_server_knows_and_g_where_the_truth_is_here(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_youtube(tmp_path)
    data = ["--data", "youtube_vos19", f"data.root={tmp_path}"]
    words = ["test", "--weights", str(tiny), *data, "trainer.accelerator=cpu", "--output"]
    assert main([*words, str(tmp_path / "valid_run")]) == 0
    text = capsys.readouterr().out
    assert "can be submitted" in text and "only the sampled frames" not in text
    with zipfile.ZipFile(tmp_path / "valid_run" / "submission.zip") as archive:
        assert archive.namelist() == [f"Annotations/2bf8bf0a3c/{t:05d}.png" for t in (5, 10, 15)]
    assert main(["check-submission", str(tmp_path / "valid_run" / "submission.zip"), *data]) == 0
    capsys.readouterr()
    assert main([*words, str(tmp_path / "sampled"), "data.test_split=valid"]) == 0
    assert "only the sampled frames" in capsys.readouterr().out
    assert main([*words, str(tmp_path / "held"), "data.test_split=jjvalid"]) == 0
    assert "YouTube-VOS 2019: J_seen" in capsys.readouterr().out
    scores = json.loads((tmp_path / "held" / "scores.json").read_text())["scores"]
    expected = evaluate_youtube_vos(tmp_path / "held" / "masks", tmp_path / "train").scores
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert (tmp_path / "held" / "report.html").is_file() and not (tmp_path / "held" / "submission.zip").exists()
