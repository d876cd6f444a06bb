"""What may be given to a tracker, and what is said of everything else: one answer in command line, API and engine."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

from tests.helpers.contract_settings import build
from vos_zoo.cli import main
from vos_zoo.model import VOSModel
from vos_zoo.prompts import PromptParser, check_fit
from vos_zoo.types import Box, UsageError
from vos_zoo.video.masks import read_mask, write_mask
from vos_zoo.video.prompts import parse_prompts

SIZE = (48, 64)
EMPTY = np.zeros(SIZE, dtype=np.uint8)


@cache
def small() -> VOSModel:
    """A small model that takes boxes."""
    return build("lwl", box_encoder=True).eval()


def square(identity: int = 1, left: int = 10) -> np.ndarray:
    labels = EMPTY.copy()
    labels[8:20, left : left + 12] = identity
    return labels


def frames(count: int = 4) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 255, (*SIZE, 3), dtype=np.uint8) for _ in range(count)]


def ids(prompts: dict[int, Any]) -> dict[int, list[int]]:
    """The objects that parsed prompts name, by frame."""
    return {
        index: sorted(prompt) if isinstance(prompt, dict) else [int(i) for i in np.unique(prompt) if i]
        for index, prompt in prompts.items()
    }


# -- what is taken ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        square(7),
        square(7).astype(np.int64),
        square(7).astype(">u2"),
        square(7)[::-1],
        square(7).tolist(),
        torch.from_numpy(square(7)),
        torch.from_numpy(square(7)).long(),
    ],
    ids=["uint8", "int64", "big endian", "a view", "a list", "tensor", "long tensor"],
)
def test_label_maps_of_any_integers_are_taken(labels: Any) -> None:
    parsed = PromptParser().parse({0: labels})
    assert isinstance(parsed[0], np.ndarray) and parsed[0].dtype == np.uint8
    np.testing.assert_array_equal(parsed[0], np.asarray(labels))


@pytest.mark.parametrize(
    "box",
    [(1, 2, 30, 40), [1.0, 2.0, 30.0, 40.0], Box(1, 2, 30, 40), np.array([1, 2, 30, 40]), torch.tensor([1, 2, 30, 40])],
    ids=["tuple", "list", "Box", "array", "tensor"],
)
def test_boxes_of_any_four_numbers_are_taken(box: Any) -> None:
    parsed = PromptParser().parse({np.int64(2): {np.uint8(254): box}})
    assert parsed == {2: {254: Box(1, 2, 30, 40)}}
    check_fit(parsed[2], 2, SIZE)


@pytest.mark.parametrize("kind", [dict, OrderedDict, MappingProxyType])
def test_any_mapping_will_do_and_frames_come_sorted(kind: Any) -> None:
    assert ids(PromptParser().parse(kind({3: square(2), 0: kind({1: (0, 0, 64, 48)})}))) == {0: [1], 3: [2]}


def test_a_box_may_fill_the_frame_to_the_last_digit() -> None:
    box = {1: np.array([10.1, 0, 53.9, 48], dtype=np.float32)}  # 10.1 + 53.9 is a little above 64 in float32
    check_fit(PromptParser().parse({0: box})[0], 0, SIZE)


# -- what 255 means --------------------------------------------------------------------------------------------------


def test_all_masks_of_a_call_decide_what_255_means() -> None:
    white = square(255)
    assert ids(PromptParser().parse({0: white, 2: white})) == {0: [1], 2: [1]}
    both = square(3)
    both[30:32, :] = 255
    assert ids(PromptParser().parse({0: both})) == {0: [3]}
    with pytest.warns(UserWarning, match="frame 0 has 144 pixels of 255 and 0 of object ids.*void"):
        assert ids(PromptParser().parse({0: white, 2: square(3)})) == {2: [3]}


def test_masks_given_one_by_one_are_decided_by_those_so_far() -> None:
    parser = PromptParser()
    assert ids({0: parser.parse_one(square(255), 0, SIZE)}) == {0: [1]}
    assert ids({1: parser.parse_one(square(2), 1, SIZE)}) == {1: [2]}
    with pytest.warns(UserWarning, match="void"):
        assert parser.parse_one(square(255), 2, SIZE) is None


def test_void_larger_than_the_objects_is_warned_of_and_a_thin_rim_is_not() -> None:
    labels = square(128)
    labels[25:45, 10:40] = 255
    with pytest.warns(UserWarning, match="600 pixels of 255 and 144 of object ids.*give it an id from 1 to 254"):
        assert ids(PromptParser().parse({0: labels})) == {0: [128]}
    rim = square(5)
    rim[7, 9:23] = 255
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ids(PromptParser().parse({0: rim})) == {0: [5]}


def test_a_soft_mask_is_refused_and_thresholded_on_request() -> None:
    image = Image.new("L", (SIZE[1], SIZE[0]))
    ImageDraw.Draw(image).ellipse([10, 10, 40, 40], fill=255)
    soft = np.array(image.filter(ImageFilter.GaussianBlur(2)))
    with pytest.raises(UsageError, match=r"frame 3 has soft edges.*mask_threshold=128"):
        PromptParser().parse({3: soft})
    parsed = PromptParser(128).parse({3: soft})
    np.testing.assert_array_equal(parsed[3], soft >= 128)
    for wrong in (0, 256, 0.5, True, "128"):
        with pytest.raises(UsageError, match="mask_threshold"):
            PromptParser(wrong)  # type: ignore[arg-type]


# -- what is refused -------------------------------------------------------------------------------------------------

WRONG_PROMPTS = [
    pytest.param([square()], ["prompts is a list", "{0: label_map}"], id="list"),
    pytest.param(square(), ["prompts is a ndarray", "{0: label_map}"], id="array"),
    pytest.param(None, ["prompts is a NoneType", "{0: label_map}"], id="nothing"),
    pytest.param("mask.png", ["prompts is a str", "{0: label_map}"], id="file name"),
    pytest.param({}, ["nothing to track", "{0: label_map}"], id="none"),
    pytest.param({"0": square()}, ["'0'", "not a frame number"], id="text as frame"),
    pytest.param({0.0: square()}, ["0.0", "not a frame number"], id="float as frame"),
    pytest.param({False: square()}, ["False", "not a frame number"], id="truth value as frame"),
    pytest.param({-1: square()}, ["frame -1", "numbered from 0"], id="negative frame"),
    pytest.param({np.int64(-2): square()}, ["frame -2", "numbered from 0"], id="negative frame of numpy"),
    pytest.param({4: square()}, ["frame 4", "has 4 frames"], id="behind the end"),
    pytest.param({0: EMPTY}, ["nothing to track", "frame 0 holds no object"], id="empty mask"),
    pytest.param({1: {}}, ["nothing to track", "frame 1 holds no object"], id="no box"),
    pytest.param({0: EMPTY, 1: EMPTY}, ["nothing to track", "holds no object"], id="empty masks"),
    pytest.param({0: square().astype(np.float32)}, ["frame 0", "float32", "(mask > 0.5)"], id="float mask"),
    pytest.param({0: square() > 0}, ["frame 0", "bool", "mask.astype(np.uint8)"], id="bool mask"),
    pytest.param({0: {1: square() > 0}}, ["frame 0, object 1", "bool (48, 64)", "one label map"], id="mask by id"),
    pytest.param({0: {1: [square()]}}, ["frame 0, object 1", "uint8 (1, 48, 64)"], id="masks by id"),
    pytest.param({0: [square()]}, ["frame 0", "(1, 48, 64)", "(H, W)"], id="an axis too many"),
    pytest.param({0: np.stack([square()] * 3, axis=2)}, ["frame 0", "(48, 64, 3)"], id="colours"),
    pytest.param({0: EMPTY[:0]}, ["frame 0", "(0, 64)"], id="no pixel"),
    pytest.param({0: None}, ["frame 0", "None"], id="no prompt"),
    pytest.param({0: Path("mask.png")}, ["frame 0", "mask.png", "label map"], id="path"),
    pytest.param({0: {0: square()}}, ["object 0", "1 to 254"], id="nested by frame"),
    pytest.param({0: {1, 2}}, ["frame 0", "object ()"], id="set"),
    pytest.param({0: (1, 1, 5, 5)}, ["frame 0", "box needs the id"], id="box without id"),
    pytest.param({0: 300 * square().astype(np.int64)}, ["frame 0", "0..300", "renumber"], id="id 300"),
    pytest.param({0: square(1).astype(np.int16) * -1}, ["frame 0", "-1..0"], id="negative id"),
    pytest.param({0: {256: (1, 1, 5, 5)}}, ["id 256", "1 to 254"], id="box of id 256"),
    pytest.param({0: {255: (1, 1, 5, 5)}}, ["id 255", "1 to 254"], id="box of id 255"),
    pytest.param({0: {0: (1, 1, 5, 5)}}, ["id 0", "1 to 254"], id="box of id 0"),
    pytest.param({0: {"1": (1, 1, 5, 5)}}, ["'1'", "whole numbers"], id="text as id"),
    pytest.param({0: {1.5: (1, 1, 5, 5)}}, ["1.5", "whole numbers"], id="float as id"),
    pytest.param({0: {1: (1, 1, 5)}}, ["object 1", "x,y,w,h"], id="three numbers"),
    pytest.param({0: {1: ("a", 1, 5, 5)}}, ["object 1", "x,y,w,h"], id="letters"),
    pytest.param({0: {1: (1, None, 5, 5)}}, ["object 1", "x,y,w,h"], id="a number missing"),
    pytest.param({0: {1: 7}}, ["object 1", "x,y,w,h"], id="one number"),
    pytest.param({0: {1: (1, float("nan"), 5, 5)}}, ["object 1", "finite"], id="not a number"),
    pytest.param({0: {1: (1, 1, float("inf"), 5)}}, ["object 1", "finite"], id="infinite"),
    pytest.param({0: {1: (1, 1, 0, 5)}}, ["object 1", "greater than 0"], id="zero width"),
    pytest.param({0: {1: (1, 1, 5, -5)}}, ["object 1", "greater than 0"], id="negative height"),
]


@pytest.mark.parametrize(("prompts", "words"), WRONG_PROMPTS)
def test_wrong_prompts_are_refused_in_one_line_before_a_frame_is_read(prompts: Any, words: list[str]) -> None:
    def unread() -> Any:
        raise AssertionError("a frame was read")
        yield

    class Unread(list[np.ndarray]):
        def __iter__(self) -> Any:
            return unread()

    with pytest.raises(UsageError) as caught:
        small().track(Unread(frames(4)), prompts)
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message


WRONG_BOXES = ["60,40,10,10", "-1,0,5,5", "100,100,5,5", "1,1,0,5", "1,1,5,-5", "nan,1,5,5", "1,1,inf,5", "1,47,5,2"]


@pytest.mark.parametrize("identity", [0, 1, 254, 255, 256])
@pytest.mark.parametrize("sides", ["1,1,5,5", *WRONG_BOXES])
def test_a_box_gets_one_answer_from_command_line_api_and_engine(identity: int, sides: str) -> None:
    box = {identity: tuple(float(side) for side in sides.split(","))}
    model = small()

    def command() -> Any:
        return parse_prompts(boxes=[f"{identity}:{sides}"], size=SIZE)

    def api() -> Any:
        return list(model.track(frames(), {0: box}))

    def engine() -> Any:
        return model.propagator().push(frames(1)[0], box)

    answers = []
    for ask in (command, api, engine):
        try:
            ask()
            answers.append("taken")
        except UsageError as error:
            answers.append(str(error).rpartition(": ")[2])
    if sides == "1,1,5,5" and 1 <= identity <= 254:
        assert answers == ["taken"] * 3
    else:
        assert answers[0] == answers[1] == answers[2]


def test_an_empty_mask_gets_one_answer_from_command_line_api_and_engine(tmp_path: Path) -> None:
    write_mask(tmp_path / "00000.png", EMPTY)
    write_mask(tmp_path / "00002.png", square(4))
    model = small()
    with pytest.raises(UsageError, match="holds no object"):
        parse_prompts([tmp_path / "00000.png"], size=SIZE)
    with pytest.raises(UsageError, match="holds no object"):
        model.track(frames(), {0: EMPTY})
    engine = model.propagator()
    with pytest.raises(UsageError, match="holds no object"):
        engine.push(frames(1)[0], EMPTY)
    assert engine.push(frames(1)[0], square(4))[0].index == 0, "the frame that was refused was not consumed"
    assert list(parse_prompts([tmp_path], size=SIZE, length=4)) == [2]
    assert [result.ids for result in model.track(frames(), {0: EMPTY, 2: square(4)})][-1] == (4,)
    assert engine.push(frames(1)[0], EMPTY)[0].ids == (4,), "beside a known object it says nothing"


@pytest.mark.parametrize("shape", [(48, 63), (47, 64), (64, 48)])
def test_a_mask_of_another_size_gets_one_answer(shape: tuple[int, int], tmp_path: Path) -> None:
    labels = np.ones(shape, dtype=np.uint8)
    write_mask(tmp_path / "mask.png", labels)
    model = small()
    with pytest.raises(UsageError, match="differs from the frame's 64x48"):
        parse_prompts([tmp_path / "mask.png"], size=SIZE)
    for ask in (
        lambda: list(model.track(frames(), {0: labels})),
        lambda: model.propagator().push(frames(1)[0], labels),
    ):
        with pytest.raises(UsageError, match=r"frame 0 is \(\d+, \d+\), the frame \(48, 64\)"):
            ask()


def test_a_prompt_behind_the_end_of_a_stream_is_an_error_at_its_end() -> None:
    results = small().track(iter(frames(2)), {0: square(), 9: square(2)})
    assert [next(results).index, next(results).index] == [0, 1]
    with pytest.raises(UsageError, match="frame 9, but the video ended"):
        next(results)


def test_frames_that_cannot_be_read_are_refused_at_once() -> None:
    with pytest.raises(UsageError, match="frames is a int; give an iterable"):
        small().track(3, {0: square()})  # type: ignore[arg-type]


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    small().save_pretrained(folder)
    return folder


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    (tmp_path / "clip").mkdir()
    for index, frame in enumerate(frames(3)):
        Image.fromarray(frame).save(tmp_path / "clip" / f"{index:05d}.jpg")
    return tmp_path / "clip"


def track(clip: Path, model: Path, *words: str) -> int:
    return main(["track", str(clip), "--weights", str(model), *words, "trainer.accelerator=cpu"])


def test_track_reads_a_0_255_mask_as_object_1(clip: Path, model: Path, tmp_path: Path) -> None:
    Image.fromarray(square(255)).save(tmp_path / "first.png")
    assert track(clip, model, "--mask", str(tmp_path / "first.png"), "--output", str(tmp_path / "out")) == 0
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / "00000.png") > 0, square() > 0)
    assert {int(i) for path in (tmp_path / "out").glob("*.png") for i in np.unique(read_mask(path))} <= {0, 1}


def test_track_refuses_a_soft_mask_and_takes_it_with_a_threshold(
    clip: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soft = Image.fromarray(square(255)).filter(ImageFilter.GaussianBlur(1))
    soft.save(tmp_path / "soft.png")
    words = ["--mask", str(tmp_path / "soft.png"), "--output", str(tmp_path / "out")]
    assert track(clip, model, *words) == 2
    assert "soft.png: has soft edges" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert track(clip, model, *words, "--mask-threshold", "128") == 0
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / "00000.png"), np.array(soft) >= 128)


def test_track_warns_of_a_palette_whose_first_colour_is_the_object(clip: Path, model: Path, tmp_path: Path) -> None:
    colours = np.zeros((*SIZE, 3), dtype=np.uint8)
    colours[square() > 0] = (255, 0, 0)
    Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "red.png")
    with pytest.warns(UserWarning, match=r"red\.png: value 0, the background, has the colour \(255, 0, 0\)"):
        assert track(clip, model, "--mask", str(tmp_path / "red.png"), "--output", str(tmp_path / "out")) == 0


def test_wrong_types_of_the_other_arguments_are_refused_at_once() -> None:
    with pytest.raises(UsageError, match=r"output_frames is 3; give the numbers of the frames"):
        small().track(frames(), {0: square()}, output_frames=3)  # type: ignore[arg-type]
    engine = small().propagator()
    engine.push(frames(1)[0], square())
    with pytest.raises(UsageError, match=r"cannot drop 1: give a list of object ids, such as \[1\]"):
        engine.drop(1)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"cannot drop object '1': known objects are \[1\]"):
        engine.drop(["1"])  # type: ignore[list-item]
    assert engine.drop([np.int64(1)]) == [] and engine.ids == []
