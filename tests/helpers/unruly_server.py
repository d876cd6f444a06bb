"""A web server on this machine that misbehaves on request, for the tests of downloads."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Site:
    """What a server offers and what it was asked for.

    Attributes:
        address: "http://127.0.0.1:PORT".
        files: path -> content.
        faults: path -> what goes wrong with the next requests for it, one by one: a status code, "cut" (half of the
            bytes, then silence), "hang" (half, then nothing until the client gives up), "page" (a web page instead),
            "short" (half, without saying how much there is), "slow" (in ten pieces).
        pages: path -> a web page that is answered instead of a file.
        tags: whether files have entity tags, which change with their content.
        ranges: whether the server can send a part of a file.
        asked: (path, Range header) of every request.
        hooks: asked first: verb, path and body of a request -> headers and body of the answer, or None; a header
            "Status" is the answer's status.
    """

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[int | str]] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)
    tags: bool = False
    ranges: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    hooks: Callable[[str, str, bytes], tuple[dict[str, str], bytes] | None] | None = None


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def _hooked(self) -> bool:
        """Whether the site's hook has answered."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.site.hooks(self.command, self.path, body) if self.site.hooks else None
        if answer is None:
            return False
        headers = {"Content-Type": "application/json", "Content-Length": str(len(answer[1])), **answer[0]}
        self.send_response(int(headers.pop("Status", "200")))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer[1])
        return True

    def do_POST(self) -> None:
        self.site.asked.append((self.path, None))
        if not self._hooked():
            self.send_error(404)

    def do_HEAD(self) -> None:
        self.do_POST()

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.site.asked.append((self.path, asked))
        if self._hooked():
            return
        faults = self.site.faults.get(self.path, [])
        fault = faults.pop(0) if faults else None
        if isinstance(fault, int):
            self.send_error(fault)
            return
        page = self.site.pages.get(self.path, "<html>sign in, please</html>" if fault == "page" else None)
        content = self.site.files.get(self.path) if page is None else page.encode()
        if content is None:
            self.send_error(404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and self.site.ranges and page is None else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if fault != "short":
            self.send_header("Content-Length", str(len(content) - start))
        if self.site.tags:
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Type", "application/octet-stream" if page is None else "text/html; charset=utf-8")
        self.end_headers()
        body = content[start:]
        if fault == "slow":
            step = len(body) // 10 + 1
            for first in range(0, len(body), step):
                self.wfile.write(body[first : first + step])
                self.wfile.flush()
                time.sleep(0.02)
            return
        if fault in ("cut", "hang", "short"):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            time.sleep(4 if fault == "hang" else 0)
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away in the middle are what the tests are about."""


@contextmanager
def serve() -> Iterator[Site]:
    """A site on a free port of 127.0.0.1."""
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {}))
    site = Site(f"http://127.0.0.1:{server.server_port}")
    server.RequestHandlerClass.site = site  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
