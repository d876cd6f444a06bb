"""Prompts from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.small_videos import SIZE, square
from vos_zoo.types import Box, UsageError
from vos_zoo.video.masks import write_mask
from vos_zoo.video.prompts import parse_prompts

# -- prompts ---------------------------------------------------------------------------------------------------------


def test_one_mask_file_is_the_prompt_of_the_first_frame(tmp_path: Path) -> None:
    write_mask(tmp_path / "first.png", square(identity=7))
    prompts = parse_prompts([tmp_path / "first.png"], size=SIZE)
    assert list(prompts) == [0] and np.array_equal(prompts[0], square(identity=7))


def test_a_folder_of_masks_adds_objects_in_the_frames_they_are_named_after(tmp_path: Path) -> None:
    write_mask(tmp_path / "00020.png", square(identity=2))
    write_mask(tmp_path / "00005.png", square(identity=1))
    write_mask(tmp_path / "00010.png", square(identity=0))  # no label at all: says nothing
    prompts = parse_prompts([tmp_path], size=SIZE, names=["00005", "00010", "00015", "00020"])
    assert list(prompts) == [0, 3]
    assert np.array_equal(prompts[3], square(identity=2))
    assert list(parse_prompts([tmp_path], size=SIZE, length=21)) == [5, 20]  # a video: names are numbers


def test_boxes_are_the_prompt_of_the_first_frame() -> None:
    prompts = parse_prompts(boxes=["1:4,5,20,10", "12: 0, 0, 64, 48"], size=SIZE)
    assert prompts == {0: {1: Box(4, 5, 20, 10), 12: Box(0, 0, 64, 48)}}
    assert parse_prompts(boxes={3: Box(1, 2, 3, 4)}, size=SIZE) == {0: {3: Box(1, 2, 3, 4)}}


def test_a_black_and_white_mask_is_object_one_and_void_beside_objects_is_dropped(tmp_path: Path) -> None:
    Image.fromarray(square(identity=255)).save(tmp_path / "binary.png")
    assert np.array_equal(parse_prompts([tmp_path / "binary.png"], size=SIZE)[0], square())
    labels = square(identity=3)
    labels[30:, :] = 255
    write_mask(tmp_path / "void.png", labels)
    assert np.array_equal(parse_prompts([tmp_path / "void.png"], size=SIZE)[0], square(identity=3))


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("0:1,1,5,5", "id 0 is not an object; ids go from 1 to 254"),
        ("-3:1,1,5,5", "id -3 is not an object"),
        ("255:1,1,5,5", "id 255 is not an object"),
        ("1:60,40,10,10", r"is not inside the frame of 64x48 pixels; its part inside is 1:60,40,4,8"),
        ("1:100,100,5,5", "is not inside the frame of 64x48 pixels; give x,y,w,h"),
        ("1:1,1,0,5", "the box is empty"),
        ("1:1,nan,5,5", "the box is empty"),
        ("1:1,1,5", "is not of the form"),
        ("1,1,5,5", "is not of the form"),
        ("one:1,1,5,5", "is not of the form"),
        ("1:a,1,5,5", "is not of the form"),
    ],
)
def test_wrong_boxes_are_refused_with_the_cure(box: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_prompts(boxes=[box], size=SIZE)


def test_contradicting_prompts_are_refused(tmp_path: Path) -> None:
    write_mask(tmp_path / "first.png", square())
    mask = tmp_path / "first.png"
    with pytest.raises(UsageError, match="object 1 already has a box"):
        parse_prompts(boxes=["1:1,1,5,5", "1:2,2,5,5"], size=SIZE)
    with pytest.raises(UsageError, match="either a mask or boxes"):
        parse_prompts([mask], ["2:1,1,5,5"], size=SIZE)
    with pytest.raises(UsageError, match="frame 0 already has a mask"):
        parse_prompts([mask, mask], size=SIZE)
    with pytest.raises(UsageError, match="give --mask FILE or --box"):
        parse_prompts(size=SIZE)


def test_wrong_masks_are_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    with pytest.raises(UsageError, match="the folder holds no PNG"):
        parse_prompts([folder], size=SIZE)
    with pytest.raises(UsageError, match=r"nothing\.png: there is no such file"):
        parse_prompts([tmp_path / "nothing.png"], size=SIZE)
    write_mask(folder / "00099.png", square())
    with pytest.raises(UsageError, match="there is no frame 99; the video's last frame is 49"):
        parse_prompts([folder], size=SIZE, length=50)
    with pytest.raises(UsageError, match="no frame is called '00099'"):
        parse_prompts([folder], size=SIZE, names=["00000"])
    with pytest.raises(UsageError, match="differs from the frame's 32x32"):
        parse_prompts([folder / "00099.png"], size=(32, 32))
    write_mask(folder / "cat.png", square())
    with pytest.raises(UsageError, match="is not a frame number"):
        parse_prompts([folder], size=SIZE)
    write_mask(tmp_path / "empty.png", square(identity=0))
    with pytest.raises(UsageError, match="holds no object"):
        parse_prompts([tmp_path / "empty.png"], size=SIZE)
