"""The README keeps up with the code: every key, metric, command and exchange stands in it, and every file it names is there.

A table in it can be made from the `expected` functions here. What a check finds missing is written there as `code`.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from ingest import registry
from ingest.config.settings import Settings
from ingest.metrics import Metrics

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CODE = set(re.findall(r"`([^`\n]+)`", README))
PAGES = ROOT / "ingest" / "pollers" / "docs"
HEADS = ["Fills", "Address", "Key", "Cost", "Limit", "Terms", "History", "Traps", "Evidence"]
PROVIDERS = sorted(name for name, module in registry.pollers().items() if getattr(module, "__package__", "") == "ingest.pollers")


def expected_keys(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """`database.dsn`, `exchanges.NAME.book.depth`, `retention.NAME`: every key that may be set."""
    for name, field in model.model_fields.items():
        kind, path = field.annotation, f"{prefix}{name}"
        if typing.get_origin(kind) is dict:
            kind, path = typing.get_args(kind)[1], f"{path}.NAME"
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from expected_keys(kind, f"{path}.")
        else:
            yield path


def expected_metrics() -> set[str]:
    """`ingest_rows_written_total` and the like, as a scrape shows them; a histogram without its suffix."""
    families = [family for family in Metrics().registry.collect() if family.name.startswith("ingest_")]
    return {f"{family.name}_total" if family.type == "counter" else family.name for family in families}


def test_every_key_is_documented():
    assert sorted(set(expected_keys()) - CODE) == []


def test_the_metrics_documented_are_those_that_exist():
    documented = {code.split("{")[0] for code in CODE if code.startswith("ingest_")}
    assert documented == expected_metrics()


def test_every_exchange_and_provider_is_documented():
    assert sorted({*registry.exchanges(), *registry.pollers()} - CODE) == []


def expected_words(name: str) -> Iterator[str]:
    """What a provider's page must name: addresses, keys, numbers and terms of its plans, its tables and settings."""
    module = registry.pollers()[name]
    for plan in module.PLANS.values():
        yield from (plan.base_url, plan.terms.split(" ")[0].removesuffix(":"), f" {plan.per_minute:,} ")
        if plan.per_month is not None:
            yield f" {plan.per_month:,} "
        if plan.key:
            yield from (f"`{plan.key}`", f"`pollers.{name}.api_key`", f"`INGEST__POLLERS__{name.upper()}__API_KEY`")
        if not plan.default_on:
            yield "`enabled = true`"
    yield from (f"`{table}`" for table in module.TABLES)


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_provider_has_its_page(name: str):
    page = (PAGES / f"{name}.md").read_text()
    assert re.findall(r"^- \*\*(\w+)\*\*: ", page, re.MULTILINE) == HEADS
    plain = " ".join(page.split())
    assert [word for word in expected_words(name) if word not in plain] == []
    assert f"[`{name}`](ingest/pollers/docs/{name}.md)" in README, "the table of providers links to the page"


def test_every_page_is_of_a_provider():
    assert {path.stem for path in PAGES.glob("*.md")} - {"README"} == set(PROVIDERS)


def test_every_file_that_is_named_is_there():
    named = {code.split()[0] for code in CODE if re.match(r"(deploy|ingest|schema|tests)/[\w./]+", code)}
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_every_script_is_for_running():
    scripts = [path for path in (ROOT / "deploy").glob("*.sh") if path.read_text().startswith("#!")]
    assert [path.name for path in scripts if not path.stat().st_mode & 0o100] == []


def test_the_checks_see_what_there_is():
    """So that none of the above passes because it looks at nothing."""
    assert {"database.dsn", "exchanges.NAME.book.depth", "retention.NAME", "log.format", "name"} <= set(expected_keys())
    assert {"ingest_rows_written_total", "ingest_commit_lag_seconds", "ingest_queue_rows"} <= expected_metrics()
