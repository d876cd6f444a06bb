"""Runs the page until it is interrupted."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import tempfile
import webbrowser
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from vos_zoo.demo.project import Project
from vos_zoo.demo.server import HOST, make_app
from vos_zoo.demo.shelf import ModelShelf
from vos_zoo.demo.tabs import Tabs
from vos_zoo.types import UsageError

if TYPE_CHECKING:
    from vos_zoo.model import VOSModel


def serve(
    load: Callable[[str], VOSModel],
    weights: Mapping[str, str],
    source: str | Path,
    *,
    port: int,
    open_browser: bool,
    say: Callable[[str], None],
) -> None:
    """Serve the page at 127.0.0.1 until Ctrl-C; what it kept on disk is deleted then. For the main thread.

    Args:
        load: name of weights -> model in eval mode, on its device.
        weights: name -> what is shown of it, for all that are offered, the default first.
        source: the video that new tabs open.
        port: 0 takes a free one.
        open_browser: whether a browser is opened.
        say: prints a line.

    Raises:
        UsageError: the port is in use.
    """
    listener = listen(port)
    shelf = ModelShelf(load, weights)
    with listener, tempfile.TemporaryDirectory(prefix="vos-zoo-demo-") as folder:
        tabs = Tabs(lambda own: Project(shelf, own, source), Path(folder))
        address = f"http://{HOST}:{listener.getsockname()[1]}"
        say(f"{address} (Ctrl-C ends it)")
        if open_browser:
            webbrowser.open(address)
        usual = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, so that files are deleted
        try:
            server_of(make_app(tabs, weights)).run(sockets=[listener])
        except KeyboardInterrupt:  # raised by uvicorn after it has shut down
            say("")
        finally:
            signal.signal(signal.SIGTERM, usual)
            tabs.close()


def listen(port: int) -> socket.socket:
    """A socket on a port of this machine alone; 0 is a free one.

    Raises:
        UsageError: the port is in use, or not allowed.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()  # a browser that asks before the server runs waits
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"port {port}: cannot be used ({reason}); give another one, or --port 0 for a free one"
        ) from error
    return listener


def server_of(app: object) -> uvicorn.Server:
    """A server of an application that logs warnings and errors alone, and nothing of requests that its end cuts off."""
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=2)  # type: ignore[arg-type]
    logging.getLogger("uvicorn.error").addFilter(_no_news)
    return uvicorn.Server(config)


def _no_news(record: logging.LogRecord) -> bool:
    """Whether a line of the log says more than that a request was cut off."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, asyncio.CancelledError) and "graceful shutdown exceeded" not in record.getMessage()
