"""A pytest plugin: the last lines of a run, and the option `--all`, which also runs the tests marked `long`.

With pytest-xdist each worker passes its part to the process that prints.
https://pytest-xdist.readthedocs.io/en/stable/how-to.html#creating-one-log-file-for-each-worker
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from installation import EDITIONS

NO_SUCH_EDITION = "has no {} edition"
RAN_ON = pytest.StashKey[set[str]]()  # editions and versions
NOT_RUN = pytest.StashKey[int]()  # how many tests marked long are deselected


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the tests marked long as well")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes so long that it runs with --all, or when its file is named")
    config.stash[RAN_ON] = set()
    config.stash[NOT_RUN] = 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("all"):
        return
    named = {Path(argument.partition("::")[0]).absolute() for argument in config.args}
    left_out = [item for item in items if item.get_closest_marker("long") and item.path not in named]
    config.stash[NOT_RUN] = len(left_out)
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_sessionfinish(session: pytest.Session) -> None:
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["ran_on"], output["not_run"] = sorted(session.config.stash[RAN_ON]), session.config.stash[NOT_RUN]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    output = getattr(node, "workeroutput", {})  # a worker that crashed has none
    node.config.stash[RAN_ON].update(output.get("ran_on", ()))
    node.config.stash[NOT_RUN] = output.get("not_run", 0)  # each worker collects all tests


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The editions and versions that the tests ran on, the tests skipped without an edition, and the deselected long tests."""
    for installation in sorted(config.stash[RAN_ON]):
        terminalreporter.write_line(f"tested on: {installation}")
    for edition in EDITIONS:
        missing = NO_SUCH_EDITION.format(edition)
        skipped = [report for report in terminalreporter.stats.get("skipped", []) if missing in str(report.longrepr)]
        if skipped:
            terminalreporter.write_line(
                f"{edition} edition: {len(skipped)} tests SKIPPED, {skipped[0].longrepr[2].removeprefix('Skipped: ')}"
            )
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    if inputs := sum(number for report in reports for name, number in report.user_properties if name == "mutated inputs"):
        terminalreporter.write_line(f"parsers: {inputs} mutated inputs")
    if not_run := config.stash[NOT_RUN]:
        terminalreporter.write_line(f"not run: {not_run} tests marked long: deploy/test.sh --all")
