"""Frames by number from every kind of video, with bounded memory."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vos_zoo.session.frames import FrameStore
from vos_zoo.types import UsageError, VOSError


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    ys, xs = np.mgrid[:32, :48]
    return np.stack([np.stack([(xs * 3 + 7 * t) % 256, ys * 5, xs + ys], axis=-1) for t in range(12)]).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(clip: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("frames")
    for t, frame in enumerate(clip):
        cv2.imwrite(str(path / f"{t:05d}.png"), frame[..., ::-1])
    return path


@pytest.mark.parametrize("kind", ["array", "list", "function", "folder"])
def test_frames_come_in_any_order(kind: str, clip: np.ndarray, folder: Path) -> None:
    videos = {"array": clip, "list": list(clip), "function": lambda t: clip[t], "folder": folder}
    store = FrameStore(videos[kind], length=12 if kind == "function" else None)
    assert (store.length, store.size) == (12, (32, 48))
    for t in (11, 0, 5, 4, 11):
        assert np.array_equal(store.frame(t), clip[t])


def test_a_video_file_is_read_backward_as_forward(clip: np.ndarray, tmp_path: Path) -> None:
    path = str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 10, (48, 32))
    for frame in clip:
        writer.write(frame[..., ::-1])
    writer.release()
    forward, backward = FrameStore(path), FrameStore(path, cache_bytes=3 * clip[0].nbytes)
    assert forward.length == 12 and forward.digest == backward.digest
    seen = {t: backward.frame(t).copy() for t in reversed(range(12))}
    assert all(np.array_equal(forward.frame(t), seen[t]) for t in range(12))


def test_the_cache_is_bounded(clip: np.ndarray) -> None:
    calls: list[int] = []

    def read(t: int) -> np.ndarray:
        calls.append(t)
        return clip[t]

    store = FrameStore(read, 12, cache_bytes=3 * clip[0].nbytes)
    for t in range(12):
        store.frame(t)
    assert len(store._cache) == 3 and store._cached == 3 * clip[0].nbytes
    store.frame(11), store.frame(10)
    assert calls == [*range(12)]


def test_digests_tell_videos_apart(clip: np.ndarray, folder: Path) -> None:
    other = clip.copy()
    other[6, 0, 0, 0] ^= 1
    digests = [FrameStore(video).digest for video in (clip, other, clip[:-1], folder)]
    assert len(set(digests)) == 4 and FrameStore(list(clip)).digest == digests[0]


def test_what_is_no_video_is_refused(clip: np.ndarray) -> None:
    for video, message in ((7, "is a int"), ("camera", "camera"), ([], "no frames"), (lambda t: clip[t], "length=N")):
        with pytest.raises(UsageError, match=message):
            FrameStore(video)
    with pytest.raises(UsageError, match="there is no frame 12"):
        FrameStore(clip).frame(12)
    with pytest.raises(UsageError, match="has 12 frames"):
        FrameStore(clip, length=13)
    with pytest.raises(UsageError, match="size"):
        FrameStore([clip[0], clip[1, :-1]]).frame(1)


def test_a_file_that_ends_early_names_the_frame(clip: np.ndarray) -> None:
    from vos_zoo.video.source import FrameSource

    class Short(FrameSource):
        name, size, length = "short", (32, 48), 12

        def __iter__(self):  # type: ignore[no-untyped-def]
            yield from clip[:5]

    store = FrameStore(Short())
    with pytest.raises(VOSError, match="ends after 5 frames; frame 9 is missing"):
        store.frame(9)
    assert np.array_equal(store.frame(2), clip[2])
