"""As much of a model hub as a download and an upload need, on the server of the tests."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from tests.helpers.unruly_server import Site


class Hub:
    """As much of the hub as a download and an upload need, on the server of the tests."""

    def __init__(self, site: Site, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
        from huggingface_hub import constants

        self.site = site
        self.committed: dict[str, bytes] = {}
        monkeypatch.setattr(constants, "ENDPOINT", site.address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", site.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        site.hooks = self.answer

    def answer(self, verb: str, path: str, body: bytes) -> tuple[dict[str, str], bytes] | None:
        """Headers and body for a request, or None where the site's files answer."""
        if path == "/api/repos/create":
            return {}, json.dumps({"url": f"{self.site.address}/me/toy", "id": "me/toy"}).encode()
        if path == "/api/validate-yaml":
            return {}, json.dumps({"errors": [], "warnings": []}).encode()
        if "/preupload/" in path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            return {}, json.dumps({"files": files}).encode()
        if "/commit/" in path:
            for line in map(json.loads, body.decode().splitlines()):
                if line["key"] == "file":
                    self.committed[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return {}, json.dumps(
                {"commitUrl": f"{self.site.address}/me/toy/commit/{'0' * 40}", "commitOid": "0" * 40, "hookOutput": ""}
            ).encode()
        if verb in ("HEAD", "GET") and "/resolve/" in path:
            content = self.committed.get(path.split("/resolve/main/")[-1].split("?")[0])
            if content is None:
                return {"Status": "404", "X-Error-Code": "EntryNotFound", "X-Repo-Commit": "0" * 40}, b""
            digest = hashlib.sha256(content).hexdigest()
            return {"ETag": f'"{digest}"', "X-Repo-Commit": "0" * 40}, content
        return None
