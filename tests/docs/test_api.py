"""The reference of the API names everything public, and its examples run."""

from __future__ import annotations

import doctest
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

import vos_zoo

API = Path(__file__).resolve().parents[2] / "docs" / "api"
SOURCE = Path(vos_zoo.__file__).parent
PUBLIC = sorted(
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if re.search(r"^__all__ = ", path.read_text(encoding="utf-8"), re.MULTILINE)
)
"""Every module that says what of it is public."""

pytestmark = pytest.mark.skipif(not API.is_dir(), reason="the tests run outside the repository: no pages")


def documented() -> list[str]:
    """Full names of what the pages describe."""
    pages = sorted(API.glob("*.md")) if API.is_dir() else []
    return [
        name for page in pages for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    ]


def described(name: str) -> object:
    home, _, own = name.rpartition(".")
    return getattr(import_module(home), own)


def test_every_described_name_exists_once_and_has_a_docstring() -> None:
    names = documented()
    assert len(names) == len(set(names))
    for name in names:
        assert (described(name).__doc__ or "").strip(), name


@pytest.mark.parametrize("package", PUBLIC)
def test_every_public_name_is_described(package: str) -> None:
    described_objects = [described(name) for name in documented()]
    module = import_module(package)
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert any(value is other for other in described_objects), f"docs/api: {package}.{name}"


def test_the_examples_of_the_reference_run() -> None:
    modules = sorted({name.rpartition(".")[0] for name in documented()})
    ran = 0
    for name in modules:
        result = doctest.testmod(import_module(name))
        assert result.failed == 0, name
        ran += result.attempted
    assert ran >= 30


def test_examples_start_where_a_reader_starts() -> None:
    assert ">>>" in (vos_zoo.VOSModel.track.__doc__ or "")
