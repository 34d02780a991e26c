"""The folders of the tests: each folder of unit/ is a room of ingest/, and shared helpers are in tests/support only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ROOT

TESTS = ROOT / "tests"
FILES = sorted(TESTS.rglob("*.py"))
FOLDERS = {"chaos", "daemon", "database", "deploy", "fuzz", "project", "support", "unit"}


def imported_tests(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            if name.startswith("test_") or (name.partition(".")[0] == "tests" and not name.startswith("tests.support")):
                yield f"{path.relative_to(ROOT)}:{node.lineno} imports {name}"


def test_no_test_imports_another() -> None:
    assert [fault for path in FILES for fault in imported_tests(path)] == []


def test_folders_are_rooms() -> None:
    assert {path.relative_to(TESTS).parts[0] for path in FILES if path.parent != TESTS} == FOLDERS
    units = {path.parent.relative_to(TESTS / "unit") for path in (TESTS / "unit").rglob("*.py")}
    assert [str(unit) for unit in sorted(units) if not (ROOT / "ingest" / unit).is_dir()] == []


def test_support_has_no_tests_and_other_folders_have_no_helpers() -> None:
    assert [str(path) for path in (TESTS / "support").rglob("test_*.py")] == []
    assert [
        str(path)
        for path in FILES
        if path.parent in (TESTS, TESTS / "project") and path.name[:5] not in ("test_", "conft", "__ini")
    ] == []
