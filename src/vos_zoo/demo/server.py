"""The page's addresses: each request calls one method of the tab's project; an error is answered as one line.

Only this machine is answered: the server listens on 127.0.0.1, and what is addressed to another host name, or sent by a
page of another site, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from vos_zoo.demo.actions import run_action
from vos_zoo.demo.exports import palette_png
from vos_zoo.demo.project import Project
from vos_zoo.demo.state import describe
from vos_zoo.demo.tabs import Tabs
from vos_zoo.demo.uploads import load_received_mask, open_received_video, receive
from vos_zoo.types import VOSError

HOST = "127.0.0.1"
"""The only address that the page is served on."""
PAGE = Path(__file__).parent / "page"
"""HTML, style and script of the page."""
_HOSTS = {HOST, "localhost"}
_POLICY = "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'"
_KEPT = {"Cache-Control": "private, max-age=86400, immutable"}  # addresses of pictures hold their version
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 90]


def make_app(tabs: Tabs, weights: Mapping[str, str]) -> Starlette:
    """The application.

    Args:
        tabs: the projects of the open tabs.
        weights: name -> what is shown of it, for all that are offered.
    """
    offered = [{"name": name, "about": about} for name, about in weights.items()]

    def project_of(request: Request) -> Project:
        return tabs.project(request.path_params["tab"])

    async def start(request: Request) -> Response:
        tab = await run_in_threadpool(tabs.open, str((await request.json()).get("tab")))
        state = await run_in_threadpool(describe, tabs.project(tab))
        return JSONResponse({"tab": tab, "weights": offered, "state": state})

    def state(request: Request) -> Response:
        return JSONResponse({"state": describe(project_of(request))})

    async def act(request: Request) -> Response:
        body, action = await request.json(), request.path_params["action"]
        project = project_of(request)
        answer = await run_in_threadpool(run_action, project, action, body)
        return JSONResponse({**answer, "state": await run_in_threadpool(describe, project)})

    async def video(request: Request) -> Response:
        project = project_of(request)
        path = await receive(project, request.query_params.get("name", ""), request.stream())
        message = await run_in_threadpool(open_received_video, project, path)
        return JSONResponse({"message": message, "state": await run_in_threadpool(describe, project)})

    async def given_mask(request: Request) -> Response:
        project = project_of(request)
        path = await receive(project, request.query_params.get("name", ""), request.stream())
        message = await run_in_threadpool(load_received_mask, project, path, _number(request))
        return JSONResponse({"message": message, "state": await run_in_threadpool(describe, project)})

    def picture(request: Request) -> Response:
        _, content = cv2.imencode(".jpg", project_of(request).frame(_number(request))[..., ::-1], _JPEG)
        return Response(content.tobytes(), media_type="image/jpeg", headers=_KEPT)

    def mask(request: Request) -> Response:
        labels = project_of(request).labels(_number(request))
        if labels is None:
            return Response(status_code=204, headers=_KEPT)
        return Response(palette_png(labels, transparent=True), media_type="image/png", headers=_KEPT)

    def exported(request: Request) -> Response:
        path = project_of(request).export_file(request.path_params["name"])
        return FileResponse(path, filename=path.name)

    routes = [
        Route("/api/tabs", start, methods=["POST"]),
        Route("/api/tabs/{tab}", state),
        Route("/api/tabs/{tab}/frames/{number:int}.jpg", picture),
        Route("/api/tabs/{tab}/masks/{number:int}.png", mask),
        Route("/api/tabs/{tab}/files/{name}", exported),
        Route("/api/tabs/{tab}/video", video, methods=["POST"]),
        Route("/api/tabs/{tab}/masks/{number:int}.png", given_mask, methods=["POST"]),
        Route("/api/tabs/{tab}/{action}", act, methods=["POST"]),
        Mount("/", StaticFiles(directory=PAGE, html=True)),
    ]
    handlers = {VOSError: _refused, Exception: _failed}
    return Starlette(routes=routes, exception_handlers=handlers, middleware=[Middleware(LocalOnly)])


def _number(request: Request) -> int:
    return int(request.path_params["number"])


def _refused(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": " ".join(str(error).split())}, status_code=400)


def _failed(request: Request, error: Exception) -> Response:
    """The answer to an unexpected error; its traceback goes to the server's log."""
    return JSONResponse({"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}, status_code=500)


class LocalOnly:
    """Refuses what does not come from the page itself: other host names (DNS rebinding) and other sites' requests."""

    def __init__(self, app: ASGIApp) -> None:
        """Guard `app`."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it with status 403."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if urlsplit(f"//{host}").hostname not in _HOSTS or (origin is not None and urlsplit(origin).netloc != host):
            refusal = JSONResponse({"error": f"only the page at http://{HOST} may ask this server"}, status_code=403)
            await refusal(scope, receive, send)
            return

        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", _POLICY.encode())]
            await send(message)

        await self.app(scope, receive, send_with_policy)
