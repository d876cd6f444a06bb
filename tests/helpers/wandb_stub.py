"""A server on 127.0.0.1 that speaks as much of Weights & Biases' API as logging a run and listing a project need.

What it stands in for: logging in, the GraphQL operations of a run's life (`UpsertBucket`, `CreateRunFiles`), the file
stream that carries history and summary, uploads of the run's files, and the list of a project's runs. The client sends
tables twice, as a file of the run and as an artifact: the file is kept, the artifact is answered as known already. What
it does not: permissions, quotas, large files in parts, several pages of runs, and anything that the server computes.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

KEY = "0123456789abcdef0123456789abcdef01234567"
PROJECT = {"id": "1", "name": "vos-zoo", "entity": {"id": "e1", "name": "somebody"}}


@dataclass
class Run:
    """What the server knows of a run."""

    name: str
    title: str = ""
    job_type: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    finished: bool = False


class WandbStub:
    """The server's state.

    Attributes:
        url: where it listens.
        runs: runs by id.
        operations: names of the GraphQL operations that came, in order.
        unknown: those it has no answer for.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.runs: dict[str, Run] = {}
        self.operations: list[str] = []
        self.unknown: list[str] = []

    def answer(self, name: str, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The data of one GraphQL operation."""
        self.operations.append(name)
        handler = getattr(self, f"on_{name}", None)
        if handler is None:
            self.unknown.append(name)
            return {}
        return dict(handler(query, variables))

    def stream(self, run: str, content: Mapping[str, Any]) -> None:
        """Lines of the run's files."""
        for name, chunk in content.get("files", {}).items():
            if name == "wandb-summary.json":
                self.runs[run].summary = json.loads(chunk["content"][-1])
        self.runs[run].finished |= bool(content.get("complete"))

    def on_UpsertBucket(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(variables["name"], Run(variables["name"]))
        run.title = variables.get("displayName") or run.title
        run.job_type = variables.get("jobType") or run.job_type
        if variables.get("config"):
            run.config = json.loads(variables["config"])
        bucket = {"id": run.name, "name": run.name, "displayName": run.title, "project": PROJECT, "historyLineCount": 0}
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    def on_Viewer(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        viewer = {
            "id": "u1",
            "entity": "somebody",
            "username": "somebody",
            "name": "Somebody",
            "email": "",
            "flags": "{}",
        }
        return {"viewer": {**viewer, "teams": {"edges": []}, "admin": False, "deletedAt": None}}

    on_GetDefaultEntity = on_Viewer

    def on_ServerFeaturesQuery(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def on_OrganizationCoreWeaveOrganizationID(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        return {"entity": {"organization": None}}

    def on_Runs(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        if variables["project"] != PROJECT["name"]:
            return {"project": None}
        edges = [{"node": self._node(run), "cursor": run.name} for run in self.runs.values()]
        page = {"endCursor": None, "hasNextPage": False}
        project = {"internalId": "1", "runCount": len(edges), "readOnly": False}
        return {"project": {**project, "runs": {"edges": edges, "pageInfo": page}}}

    def on_ArtifactType(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        return {"project": {"artifact": None}}

    def on_CreateArtifact(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        name = variables["input"]["artifactCollectionName"]
        return {"createArtifact": {"artifact": {"id": name, "state": "COMMITTED", "artifactSequence": None}}}

    def on_CreateRunFiles(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        run = variables["run"]
        files = [{"name": name, "uploadUrl": f"{self.url}/storage/{run}/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": files}}

    def _node(self, run: Run) -> dict[str, Any]:
        """A run as lists and single look-ups show it."""
        return {
            "id": run.name,
            "projectId": "1",
            "name": run.name,
            "displayName": run.title,
            "jobType": run.job_type,
            "state": "finished" if run.finished else "running",
            "config": json.dumps(run.config),
            "summaryMetrics": json.dumps(run.summary),
            "systemMetrics": "{}",
            "tags": [],
            "createdAt": "2026-11-21T12:00:00Z",
            "user": {"name": "Somebody", "username": "somebody"},
            **dict.fromkeys(("sweepName", "group", "commit", "heartbeatAt", "description", "notes", "historyKeys")),
            "readOnly": False,
            "historyLineCount": 2,
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub: WandbStub

    def log_message(self, *_: object) -> None:
        """Silence."""

    def do_GET(self) -> None:
        self._reply({})

    def do_PUT(self) -> None:
        _, _, run, name = unquote(urlparse(self.path).path).split("/", 3)
        body = self._body()
        if run in self.stub.runs:
            self.stub.runs[run].files[name] = body
        self._reply({})

    def do_POST(self) -> None:
        path, content = urlparse(self.path).path, json.loads(self._body() or b"{}")
        if path.endswith("/graphql"):
            query, variables = content["query"], content.get("variables") or {}
            name = content.get("operationName") or query.split("(")[0].split("{")[0].split()[-1]
            self._reply({"data": self.stub.answer(name, query, variables)})
            return
        if path.endswith("/file_stream"):
            self.stub.stream(path.split("/")[-2], content)
        self._reply({"exitcode": None, "limits": {}})

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _reply(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up when they are done."""


@contextmanager
def wandb_stub() -> Iterator[WandbStub]:
    """Run the server in a thread."""
    handler = type("Handler", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    stub = WandbStub(f"http://127.0.0.1:{server.server_port}")
    handler.stub = stub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
