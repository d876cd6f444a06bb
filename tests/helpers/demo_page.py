"""The page of `vos-zoo demo`, served for tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vos_zoo.demo.project import Project
from vos_zoo.demo.serve import listen, server_of
from vos_zoo.demo.server import make_app
from vos_zoo.demo.shelf import ModelShelf
from vos_zoo.demo.tabs import Tabs


@contextmanager
def served(load: Callable[[str], Any], weights: dict[str, str], source: Path, folder: Path) -> Iterator[str]:
    """Serve the page in a thread; yields its address."""
    shelf = ModelShelf(load, weights)
    tabs = Tabs(lambda own: Project(shelf, own, source), folder)
    listener = listen(0)
    server = server_of(make_app(tabs, weights))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        tabs.close()
        listener.close()
