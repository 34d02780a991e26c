"""The structure of the code: imports between rooms, purity, sizes, and where every exception may be caught.

The checks read syntax trees and import nothing. The rooms are those of ingest/README.md. A module imports only from rooms on a
lower level and from its own room; exchanges do not import each other, nor do pollers.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

LEVELS = (
    {"", "errors", "records", "counters", "log"},  # "" is the package itself: its version
    {"tables", "protocol", "text", "indicators", "metrics"},
    {"marketdata", "polling"},
    {"exchanges", "pollers"},
    {"registry", "transports", "pipeline"},
    {"config", "store"},
    {"sources", "simulator"},
    {"daemon"},
    {"cli"},
    {"__main__"},
)
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
LOOSE = {"__main__", "errors", "records", "tables", "counters", "metrics", "log", "registry"}  # modules outside the rooms
PURE = {"errors", "records", "tables", "protocol", "text", "indicators", "marketdata", "polling", "exchanges", "pollers"}
PURE_IMPORTS = {
    "__future__",
    "bisect",
    "binascii",
    "collections",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "defusedxml",
    "email.utils",
    "enum",
    "functools",
    "gzip",
    "hashlib",
    "html",
    "io",
    "itertools",
    "json",
    "math",
    "msgspec",
    "numpy",
    "operator",
    "re",
    "string",
    "struct",
    "talib",
    "types",
    "typing",
    "urllib.parse",
    "xml",
    "zipfile",
    "zlib",
}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
VAGUE = {"util", "utils", "helper", "helpers", "common", "misc", "handy"}

SOURCES = sorted((ROOT / "ingest").rglob("*.py"))
ALL = SOURCES + sorted((ROOT / "deploy").rglob("*.py")) + sorted((ROOT / "tests").rglob("*.py"))


def module_name(path: Path) -> str:
    """`store.copy` for ingest/store/copy.py; "" for the package itself."""
    parts = path.relative_to(ROOT / "ingest").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in SOURCES}


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import, also inside functions. A relative import keeps its dots: '.copy'."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def own_module(name: str) -> str | None:
    """The module of `ingest` that has an imported name: 'ingest.store.copy.write' -> 'store.copy'; None for other packages."""
    package, *parts = name.split(".")
    if package != "ingest":
        return None
    while parts and ".".join(parts) not in MODULES:
        parts.pop()
    return ".".join(parts)


def may_import(importer: str, imported: str) -> bool:
    mine, other = importer.partition("."), imported.partition(".")
    if LEVEL[other[0]] != LEVEL[mine[0]]:
        return LEVEL[other[0]] < LEVEL[mine[0]]
    if mine[0] != other[0]:
        return False
    if mine[0] not in {"exchanges", "pollers"}:
        return True
    if mine[0] == "exchanges" and mine[2].partition(".")[0] == other[2].partition(".")[0]:
        return True  # the modules of one exchange's package
    family = mine[2].lstrip("_").partition("_")[0]
    return other[2].startswith(f"_{family}_")


def layer_faults(module: str, tree: ast.Module) -> Iterator[str]:
    for line, name in imports(tree):
        imported = own_module(name)
        if name.startswith("."):
            yield f"line {line}: relative import '{name}'; write it from 'ingest'"
        elif imported is not None and not may_import(module, imported):
            yield f"line {line}: '{module}' imports '{imported}', which is not below it"


def purity_faults(tree: ast.Module) -> Iterator[str]:
    for line, name in imports(tree):
        if not any(name == pure or name.startswith(f"{pure}.") for pure in (*PURE_IMPORTS, "ingest")):
            yield f"line {line}: pure code imports '{name}'"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in IMPURE_CALLS:
            yield f"line {node.lineno}: pure code calls '{ast.unparse(node.func)}'"
        if isinstance(node, (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)):
            yield f"line {node.lineno}: pure code is not asynchronous"


def catching_faults(tree: ast.Module) -> Iterator[str]:
    """Where every exception is caught: by `contextlib.suppress`, or by a handler that does not end in a bare `raise`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and (node.type is None or _everything(node.type)) and not _raises_again(node):
            yield f"line {node.lineno}: catches everything"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress") and any(map(_everything, node.args)):
            yield f"line {node.lineno}: suppresses everything"


def _everything(caught: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id in {"Exception", "BaseException"} for node in ast.walk(caught))


def _raises_again(handler: ast.ExceptHandler) -> bool:
    return isinstance(last := handler.body[-1], ast.Raise) and last.exc is None


def size_faults(text: str, tree: ast.Module) -> Iterator[str]:
    if (lines := len(text.splitlines())) > 400:
        yield f"{lines} lines; 400 is the limit"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and (node.end_lineno or 0) - node.lineno >= 60:
            yield f"line {node.lineno}: '{node.name}' is longer than 60 lines"


def package_faults(tree: ast.Module) -> Iterator[str]:
    """A package's __init__ has a docstring and constants only."""
    for node in tree.body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        constant = isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        if not (docstring or constant):
            yield f"line {node.lineno}: an __init__.py has no logic"


def each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(ROOT)))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def is_pure(path: Path) -> bool:
    return module_name(path).split(".")[0] in PURE


def test_every_module_has_a_level():
    assert {name.split(".")[0] for name in MODULES} - LEVEL.keys() == set(), "add the room or module to LEVELS"


def test_the_page_of_the_code_lists_each_room_on_its_level():
    rows = re.findall(r"^\| (\d) \| (.+?) \| (pure:)?", (ROOT / "ingest/README.md").read_text(), re.MULTILINE)
    rooms = [
        (name.strip("/").removesuffix(".py"), int(level), bool(pure))
        for level, cell, pure in rows
        for name in re.findall(r"`([^`]+)`", cell)
    ]
    assert {name: level for name, level, _ in rooms} == {name: level for name, level in LEVEL.items() if name}
    assert {name for name, _, pure in rooms if pure} == PURE


def test_only_the_listed_modules_are_outside_the_rooms():
    assert {name for name in MODULES if "." not in name and not (ROOT / "ingest" / name).is_dir()} <= LOOSE


def test_no_module_has_a_vague_name():
    assert [name for name in MODULES if VAGUE & set(name.lstrip("_").replace("_", ".").split("."))] == []


@each(SOURCES)
def test_imports_go_down(path: Path):
    assert list(layer_faults(module_name(path), parse(path))) == []


@each([path for path in SOURCES if is_pure(path)])
def test_pure_code_is_pure(path: Path):
    assert list(purity_faults(parse(path))) == []


@each([path for path in SOURCES if module_name(path) != "daemon.source_manager"])
def test_only_the_source_manager_catches_everything(path: Path):
    assert list(catching_faults(parse(path))) == []


@each(ALL)
def test_sizes(path: Path):
    assert list(size_faults(path.read_text(), parse(path))) == []


@each([path for path in SOURCES if path.name == "__init__.py"])
def test_packages_hold_no_logic(path: Path):
    assert list(package_faults(parse(path))) == []


@each(SOURCES)
def test_every_module_has_a_docstring(path: Path):
    assert ast.get_docstring(parse(path)), "add a docstring to the module"


@each(
    [path for path in SOURCES if path.parent.name in {"exchanges", "pollers"} and path.name[0] != "_"]
    + sorted((ROOT / "ingest" / "exchanges").glob("*/exchange.py"))
)
def test_every_protocol_names_its_document(path: Path):
    assert "https://" in (ast.get_docstring(parse(path)) or ""), "add the URL of the official document to the docstring"


# --- the checks themselves -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("store.copy", "store.pool", True),
        ("store.copy", "pipeline.batch", True),
        ("pipeline.batch", "store.copy", False),
        ("exchanges.binance.history", "exchanges.binance.archive", True),
        ("exchanges.kraken.exchange", "exchanges.binance.exchange", False),
        ("exchanges.okx.exchange", "exchanges.okx.parse", True),
        ("exchanges.okx.exchange", "exchanges.gate.parse", False),
        ("exchanges.kraken", "marketdata.order_book", True),
        ("marketdata.order_book", "exchanges.kraken", False),
        ("marketdata.order_book", "records", True),
        ("protocol.http", "tables", False),
        ("sources.exchange_feed", "daemon.http_server", False),
        ("cli.main", "daemon.supervisor", True),
        ("daemon.supervisor", "cli.main", False),
    ],
)
def test_may_import(importer: str, imported: str, allowed: bool):
    assert may_import(importer, imported) is allowed


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (lambda tree: layer_faults("marketdata.order_book", tree), "def f():\n    from ingest.config.settings import load"),
        (lambda tree: layer_faults("store.copy", tree), "from . import pool"),
        (purity_faults, "import asyncio"),
        (purity_faults, "from os import path"),
        (purity_faults, "from datetime import datetime\nnow = datetime.now()"),
        (purity_faults, "async def f(): ..."),
        (catching_faults, "try: f()\nexcept Exception: pass"),
        (catching_faults, "try: f()\nexcept (ValueError, BaseException): pass"),
        (catching_faults, "try: f()\nexcept: pass"),
        (catching_faults, "with contextlib.suppress(Exception): f()"),
        (lambda tree: size_faults("", tree), "def f():\n" + "    g()\n" * 60),
        (lambda tree: size_faults("\n" * 401, tree), ""),
        (package_faults, "import os"),
    ],
)
def test_a_fault_is_found(check, text: str):
    assert len(list(check(ast.parse(text)))) == 1
