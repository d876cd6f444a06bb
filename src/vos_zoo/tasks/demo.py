"""`vos-zoo demo`: the page on which objects are drawn, tracked and corrected."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.config.layers import RunConfig
from vos_zoo.console import say
from vos_zoo.types import UsageError

if TYPE_CHECKING:
    from vos_zoo.model import VOSModel

_NEEDED = ("starlette", "uvicorn")


def run_demo(*, config: RunConfig, source: str | Path, weights: str | None, port: int, open_browser: bool) -> int:
    """Serve the page until Ctrl-C.

    Args:
        config: the settings of the trainer name the device.
        source: video file or folder of frames that new tabs open.
        weights: name or path that is chosen first; None: those that ship with the best J&F.
        port: where it is served on this machine; 0 is a free one.
        open_browser: whether a browser is opened.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"the demo needs {' and '.join(missing)}; run: pip install 'vos-zoo[demo]'")
    from vos_zoo.demo.serve import serve
    from vos_zoo.demo.shelf import offered_weights
    from vos_zoo.video.reader import open_video

    open_video(source)  # a wrong file is an error of the command, not of the page

    def load(name: str) -> VOSModel:
        from vos_zoo.tasks.evaluate import load_model

        return load_model(config, name)[0].eval()

    serve(load, offered_weights(weights), source, port=port, open_browser=open_browser, say=say)
    return 0
