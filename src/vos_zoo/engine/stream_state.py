"""The state of a stream between two frames: everything that its next results depend on besides the model."""

from __future__ import annotations

from typing import Any

from vos_zoo.engine.propagator import Propagator


def stream_state(stream: Propagator) -> dict[str, Any]:
    """The state of a stream, by name; its values are the stream's own, so a later frame changes them."""
    return {
        "ids": stream.ids,
        "clock": stream._clock,
        "groups": stream._groups,
        "buffer": stream._buffer,
        "next": stream._next,
        "size": stream._size,
        "ids_seen": stream._parser._ids_seen,
        "view": vars(stream.view),
        "areas": stream.meter.areas,
        "lost": stream.meter.lost,
        "smoothed": stream.smoother.masks,
    }


def set_stream_state(stream: Propagator, state: dict[str, Any]) -> None:
    """Continue a stream of the same model and settings from a state; the stream takes its values."""
    stream.ids = state["ids"]
    stream._clock = state["clock"]
    stream._groups = state["groups"]
    stream._buffer = state["buffer"]
    stream._next = state["next"]
    stream._size = state["size"]
    stream._parser._ids_seen = state["ids_seen"]
    stream.meter.areas, stream.meter.lost = state["areas"], state["lost"]
    stream.smoother.masks = state["smoothed"]
    vars(stream.view).clear()
    vars(stream.view).update(state["view"])
