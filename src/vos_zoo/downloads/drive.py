"""Files shared on Google Drive: their addresses, and the pages that it sends instead of a file.

A file is asked for at ``uc?export=download&id=ID``. For files that are too large for its virus scan, Drive answers with
a page whose form ``download-form`` leads to the file. We follow this form ourselves instead of using gdown, since our
transfers resume, notice another version of the file, and say in one line what a page means.
"""

from __future__ import annotations

import html
import re
import urllib.parse
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from typing import Any

from vos_zoo.types import VOSError

SITE = "https://drive.google.com"
"""Where files are shared."""
TRUSTED = (".google.com", ".googleusercontent.com")
"""Ends of the hosts that a form may lead to, besides the one that sent it."""
_LARGEST_PAGE = 1 << 21


def follow(url: str, name: str, request: Callable[[str], Any]) -> Any:
    """The answer with the content of a file, after the pages before it.

    Args:
        url: any address; those of files and folders on Google Drive are resolved, others asked as they are. The
            fragment of a folder's address is the path of the file in it, for folders in the folder.
        name: name of the file, for folders without a fragment.
        request: opens an address; the answer has `url`, `headers` and `read`.

    Raises:
        VOSError: Drive sends a page instead of the file; the message says which and what to do.
        OSError, http.client.HTTPException: from `request`.
    """
    shared = _shared(url)
    if shared is None:
        return request(url)
    kind, number = shared
    if kind == "folder":
        fragment = urllib.parse.unquote(urllib.parse.urlsplit(url).fragment)
        for part in (fragment or name).split("/"):
            entries = _entries(number, request)
            if part not in entries:
                raise VOSError(f"{url}: the folder on Google Drive has no {part!r} (it shows {_names(entries)})")
            number = entries[part]
    answer = request(f"{SITE}/uc?export=download&id={number}")
    if not _is_page(answer):
        return answer
    with answer:
        action = _form(_text(answer), answer.url, url)
    answer = request(action)
    if not _is_page(answer):
        return answer
    with answer:
        raise _refusal(_text(answer), answer.url, url)


def _shared(url: str) -> tuple[str, str] | None:
    """("file" or "folder", id) of an address on Google Drive, or None for other addresses."""
    if not url.startswith(f"{SITE}/"):
        return None
    parts = urllib.parse.urlsplit(url)
    for kind, pattern in (("file", r"/file/d/([\w-]+)"), ("folder", r"/folders/([\w-]+)")):
        if found := re.search(pattern, parts.path):
            return kind, found[1]
    number = urllib.parse.parse_qs(parts.query).get("id", [""])[0]
    return ("file", number) if re.fullmatch(r"[\w-]+", number) else None


def _is_page(answer: Any) -> bool:
    kind = answer.headers.get("Content-Type", "")
    return str(kind).lower().startswith("text/html") and "Content-Disposition" not in answer.headers


def _text(page: Any) -> str:
    return str(page.read(_LARGEST_PAGE).decode("utf-8", "replace"))


class _Form(HTMLParser):
    """Address and hidden fields of the form "download-form"."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at forms and their inputs."""
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._inside = found.get("id") == "download-form"
            self.action = found.get("action") if self._inside else self.action
        elif tag == "input" and self._inside and found.get("type") == "hidden" and "name" in found:
            self.fields[found["name"]] = found.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        """Leave the form."""
        self._inside = self._inside and tag != "form"


def _form(page: str, sent_by: str, url: str) -> str:
    """The address that the form of a confirmation page leads to."""
    form = _Form()
    form.feed(page)
    if form.action is None:
        raise _refusal(page, sent_by, url)
    action = urllib.parse.urljoin(sent_by, form.action)
    sender, target = urllib.parse.urlsplit(sent_by), urllib.parse.urlsplit(action)
    known = target.netloc == sender.netloc or str(target.hostname).endswith(TRUSTED)
    if not known or target.scheme not in (sender.scheme, "https"):
        raise VOSError(f"{url}: Google Drive's form leads to {target.netloc!r}, which is none of its hosts")
    query = urllib.parse.urlencode({**dict(urllib.parse.parse_qsl(target.query)), **form.fields})
    return urllib.parse.urlunsplit((target.scheme, target.netloc, target.path, query, ""))


def _refusal(page: str, sent_by: str, url: str) -> VOSError:
    """The error for a page without the form."""
    found = re.search(r"<title>(.*?)</title>", page, re.IGNORECASE | re.DOTALL)
    title = " ".join(html.unescape(found[1]).split()) if found else "without a title"
    if "quota" in title.lower() or "too many users" in page.lower():
        return VOSError(f"{url}: Google Drive's download quota for this file is exceeded; try again in 24 hours")
    if str(urllib.parse.urlsplit(sent_by).hostname).startswith("accounts.") or "sign in" in title.lower():
        return VOSError(f"{url}: Google Drive asks to sign in: the file is no longer shared with everyone")
    return VOSError(
        f"{url}: Google Drive sent the web page {title!r} instead of the file; open the address in a browser"
    )


def names_in(url: str, request: Callable[[str], Any]) -> str:
    """The names that a folder on Google Drive shows, for messages.

    Args:
        url: its address.
        request: as for `follow`.

    Raises:
        OSError, http.client.HTTPException: from `request`.
    """
    kind, number = _shared(url) or ("", "")
    return _names(_entries(number, request)) if kind == "folder" else "no files"


def _entries(number: str, request: Callable[[str], Any]) -> dict[str, str]:
    """Name -> id of what a folder shows, files and folders."""
    with request(f"{SITE}/embeddedfolderview?id={number}") as answer:
        page = _text(answer)
    found = re.findall(r'id="entry-([\w-]+)".*?flip-entry-title"?[^>]*>([^<]*)<', page, re.DOTALL)
    return {html.unescape(title).strip(): number for number, title in found}


def _names(entries: Mapping[str, str]) -> str:
    return ", ".join(entries) or "no files"
