"""The shape of the package, read from its syntax trees: import direction, method names, docstrings, printing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from vos_zoo.registry import available_methods

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "vos_zoo"
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {".".join(("vos_zoo", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in FILES}
PLANNED = {"lwl", "joint", "llb", "giel", "pcvos"}
METHODS = PLANNED | set(available_methods())
ENGLISH = {"joint"}

# What each part of the package may import; a part is a folder, or a file beside the folders.
SETTINGS = {"types", "registry", "dataset_registry", "config", "files.atomic"}
GROUPS = {f"config.settings.{name}" for name in ("rules", "clips", "frames", "static", "generated", "data")}
MASKS = {"labels", "video.masks", "video.mask_reader"}
SCORES = {"types", "files", "labels", "prompts", "metrics", "video"}
NETWORKS = {"types", "tensors", "losses", "nn"}
RUN = {"console", "processes", "revision"}
ALLOWED = {
    "types": set(),
    "tensors": set(),
    "threads": set(),
    "revision": set(),
    "environment": set(),
    "labels": {"types"},
    "losses": {"types"},
    "suggestions": {"types"},
    "processes": {"types"},
    "console": {"processes"},
    "prompts": {"types", "labels"},
    "registry": {"types"},
    "dataset_registry": {"types", "registry"},
    "files": {"types", "files"},
    "config": SETTINGS,
    "nn": {"types", "registry", "tensors", "environment", "downloads.published", "nn"},
    "engine": {"types", "tensors", "prompts", "nn", "config.settings.rules", "engine"},
    "methods": NETWORKS | {"registry", "config.settings.rules", "engine", "methods"},
    "downloads": {"types", "registry", "environment", "files.atomic", "downloads"},
    "hub": NETWORKS | SETTINGS | {"downloads", "environment", "engine", "hub"},
    "session": {"types", "labels", "prompts", "revision", "files", "suggestions", "video", "engine", "session"},
    "metrics": MASKS | {"types", "files", "metrics"},
    "video": SCORES | {"threads"},
    "data": MASKS | GROUPS | {"dataset_registry", "types", "tensors", "files", "data"},
    "evaluation": SCORES | {"revision", "session", "threads", "evaluation"},
    "training": SETTINGS | SCORES | RUN | {"hub", "evaluation", "training"},
    "model": NETWORKS
    | SETTINGS
    | {
        "prompts",
        "engine",
        "hub",
        "metrics",
        "session",
        "training.later",
        "training.optimisation",
        "training.validation",
    },
    "create": SETTINGS | {"model"},
    "core": set(),
    "export": {"types", "nn", "engine", "export"},
    "samples": {"types", "video"},
    "demo": SCORES | {"samples", "hub.weights", "session", "model", "demo"},
    "tasks": NETWORKS
    | SETTINGS
    | SCORES
    | RUN
    | {"samples", "downloads", "engine", "hub", "model", "create", "data", "evaluation", "session", "suggestions"}
    | {"export", "demo", "threads", "training", "tasks"},
    "cli": SETTINGS
    | {"samples", "downloads.fetching", "hub.weights", "hub.result_masks", "files", "labels", "prompts", "tasks"}
    | {"cli"},
    "__main__": {"cli"},
}


def _trees() -> Iterator[tuple[str, ast.Module]]:
    for module, path in MODULES.items():
        yield module.removesuffix(".__init__"), ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


TREES = dict(_trees())


def _part(module: str) -> str:
    """The part of the package a module belongs to: "engine", "data", "cli"..."""
    names = module.split(".")[1:]
    return names[0] if names else "vos_zoo"


def _imports(module: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full name of every import from the package, also inside functions and for type checking only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == "vos_zoo")
        elif isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == "vos_zoo"):
            assert node.level == 0, f"{module}:{node.lineno} imports relatively; write the full name"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full != "vos_zoo.__version__":
                    yield node.lineno, full if full in TREES or node.module == "vos_zoo" else str(node.module)


def _docstrings(tree: ast.AST) -> set[int]:
    """Identities of the constants that are documentation: every string that is a statement of its own."""
    return {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)}


def _named_methods(tree: ast.AST) -> list[str]:
    """Where a tree names a method, as "line: name": in an identifier or in a string that is no documentation."""
    documentation = _docstrings(tree)
    found = []
    for node in ast.walk(tree):
        if id(node) not in documentation:
            found += [f"line {getattr(node, 'lineno', '?')}: {name}" for name in sorted(METHODS & _words(node))]
    return found


def _words(node: ast.AST) -> set[str]:
    """The words of a node's identifiers and string; words of plain English count only in paths and in bare strings."""
    if isinstance(node, ast.Constant):
        text = node.value.lower() if isinstance(node.value, str) else ""
        words = set(re.findall(r"[a-z0-9]+", text))
        return words - ENGLISH if re.search(r"\s", text) else words
    fields = [
        str(getattr(node, field, None) or "").lower() for field in ("id", "attr", "arg", "name", "asname", "module")
    ]
    words = {word for field in fields for word in re.split(r"[._]", field)}
    return words if isinstance(node, ast.alias | ast.ImportFrom) else words - ENGLISH


@pytest.mark.parametrize("module", sorted(name for name in TREES if name != "vos_zoo"))
def test_imports_run_one_way(module):
    part = _part(module)
    assert part in ALLOWED, f"{module}: a new part of the package; say in this test what it may import"
    wrong = [
        f"line {line}: {name}"
        for line, name in _imports(module, TREES[module])
        if _part(name) not in ALLOWED[part] and name.removeprefix("vos_zoo.") not in ALLOWED[part]
    ]
    assert not wrong, f"{module} ({part}) may import {sorted(ALLOWED[part])}, but: {wrong}"


# What each part of `data` may import of the others.
DATA = {
    "datasets": set(),
    "opening": set(),
    "spare": set(),
    "clips": {"datasets"},
    "synthetic": {"datasets"},
    "composed": {"datasets", "clips", "synthetic", "opening"},
    "loader": {"clips", "datasets"},
    "datamodule": {"datasets", "clips", "opening", "loader", "spare"},
}


@pytest.mark.parametrize("module", sorted(name for name in TREES if _part(name) == "data" and name.count(".") > 1))
def test_imports_within_data_run_one_way(module):
    part = module.split(".")[2]
    used = {name.split(".")[2] for _, name in _imports(module, TREES[module]) if _part(name) == "data"} - {part}
    assert used <= DATA.get(part, set()), f"{module} may import {sorted(DATA.get(part, set()))}, but: {sorted(used)}"


def test_no_module_imports_itself_through_others():
    graph = {module: {name for _, name in _imports(module, tree)} & TREES.keys() for module, tree in TREES.items()}
    while leaves := [module for module, uses in graph.items() if not uses & graph.keys()]:
        for module in leaves:
            del graph[module]
    assert not graph, f"these modules import each other in a circle, or something that does: {sorted(graph)}"


def test_nothing_imports_the_command_line():
    wrong = [
        module
        for module, tree in TREES.items()
        if _part(module) not in ("cli", "__main__") and any("vos_zoo.cli" in name for _, name in _imports(module, tree))
    ]
    assert not wrong


@pytest.mark.parametrize("module", sorted(name for name in TREES if not name.startswith("vos_zoo.methods.")))
def test_no_file_outside_methods_names_a_method(module):
    wrong = _named_methods(TREES[module])
    assert not wrong, f"{module} names a method: {wrong}"


@pytest.mark.parametrize("module", sorted(TREES))
def test_every_public_module_class_and_function_has_a_docstring(module):
    tree = TREES[module]
    assert ast.get_docstring(tree), f"{module} has no docstring"
    wrong = [f"line {node.lineno}: {node.name}" for node in _public(tree) if not ast.get_docstring(node)]
    assert not wrong, f"{module}: without docstring: {wrong}"


def _public(parent: ast.Module | ast.ClassDef) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in parent.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node)


def test_results_that_hold_tensors_are_cached_by_one_decorator_alone():
    """What other caches keep may have been made in inference mode, and then breaks the next training step."""
    holders = {"Tensor"}
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and any(
                isinstance(line, ast.AnnAssign) and "Tensor" in _identifiers(line.annotation) for line in node.body
            ):
                holders.add(node.name)
    assert {"Windows", "_Band"} <= holders
    wrong = [
        f"{module}:{node.lineno} {node.name}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and {"cache", "lru_cache", "cached_property"} & set().union(*map(_identifiers, node.decorator_list))
        and (node.returns is None or holders & _identifiers(node.returns))
    ]
    assert not wrong, f"use vos_zoo.tensors.cached_tensors: {wrong}"


def test_number_formats_are_decided_in_one_file():
    wrong = [
        f"{module}:{node.lineno}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.autocast", "autocast", "torch.amp.autocast")
        if module not in ("vos_zoo.nn.precision", "vos_zoo.engine.propagator")
    ]
    assert not wrong, f"use vos_zoo.nn.precision: {wrong}"


MODEL_CODE = sorted(name for name in TREES if name.startswith(("vos_zoo.methods.", "vos_zoo.engine.", "vos_zoo.nn.")))
PASSES = {"vos_zoo.nn.passes", "vos_zoo.nn.norms", "vos_zoo.nn.attention"}
"""Where what is computed may depend on whether gradients are recorded."""


@pytest.mark.parametrize("module", [name for name in MODEL_CODE if not name.startswith("vos_zoo.nn.cpu")])
def test_networks_are_plain_modules_that_know_no_kernel_and_do_not_ask_for_gradients(module):
    tree = TREES[module]
    kernels = [line for line, name in _imports(module, tree) if name.startswith("vos_zoo.nn.cpu")]
    assert not kernels, f"{module} imports a kernel in lines {kernels}; `accelerate_cpu` applies them from outside"
    asked = [node.lineno for node in ast.walk(tree) if getattr(node, "attr", "") == "is_grad_enabled"]
    assert not asked or module in PASSES, f"{module} asks in lines {asked}; use vos_zoo.nn.passes, or decide in memory"


def _identifiers(node: ast.AST) -> set[str]:
    """Names and attributes in an expression, also in an annotation that is a string."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            found |= set(re.findall(r"\w+", part.value))
        found |= {str(getattr(part, field)) for field in ("id", "attr") if hasattr(part, field)}
    return found


@pytest.mark.parametrize("module", sorted(name for name in TREES if _part(name) not in ("cli", "tasks")))
def test_library_code_does_not_print(module):
    wrong = [
        node.lineno
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not wrong, f"{module} prints in lines {wrong}; use a logger"


@pytest.mark.parametrize(
    ("source", "caught"),
    [
        ("from vos_zoo.methods import lwl", True),
        ("pcvos_settings = 3", True),
        ("x = 'vos_zoo.methods.joint.target_model'", True),
        ("if name == 'llb': pass", True),
        ("def f():\n    '''As in LWL.'''", False),
        ("from vos_zoo.methods.joint import target_model", True),
        ("jointly = 'disjointed'", False),
        ("joint = 'where two joint parts meet'", False),
    ],
)
def test_the_search_for_method_names_finds_them(source, caught):
    assert bool(_named_methods(ast.parse(source))) is caught
