"""The pages agree with the code: generated blocks are current, and examples work.

Every Markdown page of the checkout is read. Commands go through the real argument parsers, SQL runs on a migrated database of each
edition, TOML is validated as a configuration, links and named files exist. https://spec.commonmark.org/0.31.2/#fenced-code-blocks
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import tomllib
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import bench.__main__ as bench
import chaos.__main__ as chaos
import pytest
from generated_docs import BLOCK, ROOT, generated, pages
from pydantic import BaseModel

from ingest import registry
from ingest.cli.arguments import parser
from ingest.config import settings
from ingest.config.settings import Settings
from ingest.metrics import Metrics

README_BYTES = 12_000
PAGES = {path: (ROOT / path).read_text() for path in pages()}
PROVIDERS = ROOT / "ingest" / "pollers" / "docs"
HEADS = ["Fills", "Address", "Key", "Cost", "Limit", "Terms", "History", "Traps", "Evidence"]
RULES = {"README", "news", "posts", "whales"}  # pages beside those of the providers
POLLERS = sorted(name for name, module in registry.pollers().items() if getattr(module, "__package__", "") == "ingest.pollers")

# programs of others; the project's files among their arguments must exist
OTHERS = {"cp", "curl", "pip", "psql", "python3", "systemctl", "zcat", "/opt/ingest/.venv/bin/pip"}
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
OWN_FILE = re.compile(r"(?:deploy|ingest|schema|tests)/[\w./-]+")


def blocks(language: str) -> Iterator[tuple[Path, str]]:
    """The fenced blocks of a language, with the page of each."""
    for path, text in PAGES.items():
        for found in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            yield path, found[1]


def code(path: Path) -> list[str]:
    """The inline code of the page."""
    return [found.replace("\\|", "|") for found in re.findall(r"`([^`\n]+)`", re.sub(FENCED, "", PAGES[path]))]


def is_there(file: str) -> bool:
    """Whether a file of the project exists. A path with NAME is that of a file that a reader adds."""
    return "NAME" in file or (ROOT / file).exists()


def shown(blocks: Iterator[tuple[Path, str]]) -> list[typing.Any]:
    return [pytest.param(text, id=f"{path}-{number}") for number, (path, text) in enumerate(blocks)]


# --- pages ----------------------------------------------------------------------------------------------------------------


def problems(check: Callable[[Path, str], Iterable[str]]) -> dict[str, list[str]]:
    """The problems that `check` finds, by page."""
    found = {str(path): sorted(set(check(path, text))) for path, text in PAGES.items()}
    return {path: wrong for path, wrong in found.items() if wrong}


def test_generated_blocks_are_current():
    def check(_path: Path, text: str) -> Iterator[str]:
        if text != generated(text):
            yield "run .venv/bin/python deploy/generated_docs.py"
        if text.count("<!-- generated: ") != len(BLOCK.findall(text)):
            yield "a block has no end"

    assert problems(check) == {}


def test_a_page_begins_with_a_heading_and_a_sentence():
    assert problems(lambda _, text: [] if re.match(r"# [^\n]+\n\n[A-Z`]", text) else [text[:80]]) == {}


def test_the_readme_is_short():
    assert len(PAGES[Path("README.md")].encode()) <= README_BYTES


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of headings."""
    heads = re.findall(r"^#+ (.+)$", re.sub(FENCED, "", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_link_resolves():
    def check(path: Path, text: str) -> Iterator[str]:
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            name, _, anchor = target.partition("#")
            page = (ROOT / path.parent / name).resolve() if name else ROOT / path
            is_there = page.exists() and (not anchor or anchor in anchors(page.read_text()))
            if not urlsplit(target).scheme and not is_there:
                yield target

    assert problems(check) == {}


def test_every_page_is_linked_from_the_readme():
    """Except the pages of single providers, to which their list links."""
    linked = re.findall(r"\]\(([^)#\s]+)", PAGES[Path("README.md")])
    named = {path for path in PAGES if (ROOT / path).parent != PROVIDERS or path.stem in RULES}
    assert sorted(str(path) for path in named - {Path("README.md")} if str(path) not in linked) == []


def test_every_file_that_is_named_exists():
    def check(path: Path, _text: str) -> Iterator[str]:
        words = (word for text in code(path) for word in text.split()[:1])
        yield from (word for word in words if OWN_FILE.fullmatch(word) and not is_there(word))

    assert problems(check) == {}


def test_every_script_is_executable():
    scripts = [path for path in (ROOT / "deploy").glob("*.sh") if path.read_text().startswith("#!")]
    assert [path.name for path in scripts if not path.stat().st_mode & 0o100] == []


# --- settings, metrics, providers -------------------------------------------------------------------------------------------


def known_keys(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """`database`, `database.dsn`, `exchanges.NAME.book.depth`: every section and key."""
    for name, field in model.model_fields.items():
        kind, path = field.annotation, f"{prefix}{name}"
        yield path
        if typing.get_origin(kind) is dict:
            kind, path = typing.get_args(kind)[1], f"{path}.NAME"
            yield path
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from known_keys(kind, f"{path}.")


def is_known(key: str) -> bool:
    """Whether a key exists; a name may be in the place of NAME."""
    known = set(known_keys())
    words = key.split(".")
    return any(".".join([*words[:at], "NAME", *words[at + 1 :]]) in known for at in range(1, len(words))) or key in known


def test_every_setting_that_is_named_exists():
    setting = re.compile(rf"(?:{'|'.join(Settings.model_fields)})(?:\.\w+)+(?<!\.md)(?<!\.py)")
    assert problems(lambda path, _: (text for text in code(path) if setting.fullmatch(text) and not is_known(text))) == {}


def test_every_setting_is_described():
    def without(model: type[BaseModel], prefix: str) -> Iterator[str]:
        for name, field in model.model_fields.items():
            kind = typing.get_args(field.annotation)[1] if typing.get_origin(field.annotation) is dict else field.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from [] if kind.__doc__ else [f"{kind.__name__}.__doc__"]
                yield from without(kind, f"{prefix}{name}.")
            elif not field.description:
                yield f"{prefix}{name}"

    assert sorted(without(Settings, "")) == []


def test_the_metrics_that_are_named_exist():
    families = [family for family in Metrics().registry.collect() if family.name.startswith("ingest_")]
    known = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    known |= {f"{family.name}{suffix}" for family in families for suffix in ("_sum", "_count", "_bucket")}
    roles = {f"ingest_{name}" for name in ("owner", "migrate", "writer", "reader", "metrics")}
    named = {word for path in PAGES for word in re.findall(r"\bingest_[a-z_]+\b", PAGES[path])}
    assert sorted(named - known - roles) == []


def expected_words(name: str) -> Iterator[str]:
    """The words that a provider's page must contain: addresses, keys, numbers and terms of its plans, its tables and settings."""
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


@pytest.mark.parametrize("name", POLLERS)
def test_every_provider_has_its_page(name: str):
    page = (PROVIDERS / f"{name}.md").read_text()
    assert re.findall(r"^- \*\*(\w+)\*\*: ", page, re.MULTILINE) == HEADS
    plain = " ".join(page.split())
    assert [word for word in expected_words(name) if word not in plain] == []


def test_every_page_is_of_a_provider():
    assert {path.stem for path in PROVIDERS.glob("*.md")} - RULES == set(POLLERS)


# --- commands ---------------------------------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[Path, str]]:
    """Every command of the shell examples; the parts of a pipe are commands of their own."""
    for path, text in blocks("sh"):
        for line in text.splitlines():
            words = shlex.split(line, comments=True)
            while words:
                end = words.index("|") if "|" in words else len(words)
                yield path, shlex.join(words[:end])
                words = words[end + 1 :]


def test_there_are_commands():
    assert {command.split()[0] for _, command in commands()} >= {"ingest", "deploy/test.sh", "deploy/chaos.sh", "psql"}


@pytest.mark.parametrize("command", shown(commands()))
def test_a_command_is_accepted(command: str):
    program, *words = shlex.split(command)
    if ">" in words:  # the rest is a file of the reader
        words = words[: words.index(">")]
    match program:
        case "ingest":
            parser().parse_args(words)
        case "deploy/bench.sh" | "deploy/chaos.sh":
            (bench if "bench" in program else chaos).parser().parse_args(words)
        case "deploy/quickstart.sh" | "deploy/test.sh":
            script = (ROOT / program).read_text()
            assert [word for word in words if word.startswith("--") and word not in script] == []
            assert [word for word in words if OWN_FILE.fullmatch(word) and not is_there(word)] == []
        case ".venv/bin/python" | ".venv/bin/pytest" | "grep":
            assert [word for word in words if OWN_FILE.fullmatch(word) and not is_there(word)] == []
        case _:
            assert program in OTHERS
            assert [word for word in words if OWN_FILE.fullmatch(word) and not is_there(word)] == []


def test_a_command_within_a_line_has_a_name_and_options_that_exist():
    (choice,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    wrong = []
    for path in PAGES:
        for text in code(path):
            words = text.split()
            if len(words) > 1 and words[0] == "ingest":
                sub = choice.choices.get(words[1])
                options = [word for word in words[2:] if word.startswith("--")]
                if words[1] != "--help" and (sub is None or any(word not in sub._option_string_actions for word in options)):
                    wrong.append(f"{path}: {text}")
    assert wrong == []


# --- examples ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", shown(blocks("toml")))
def test_a_configuration_is_valid(example: str, tmp_path: Path):
    if "database" not in tomllib.loads(example):
        example = f'{example}\n[database]\ndsn = "postgresql://ingest_writer@localhost/market"\n'
    path = tmp_path / "ingest.toml"
    path.write_text(example)
    settings.load(path)


async def test_every_query_runs(market: str):
    """On both editions. The tables are empty, so only names and types are tested."""
    connection = await asyncpg.connect(market)
    try:
        count = 0
        for path, text in blocks("sql"):
            for statement in filter(str.strip, re.sub(r"--[^\n]*", "", text).split(";")):
                count += 1
                try:
                    await connection.fetch(statement)
                except asyncpg.PostgresError as error:
                    pytest.fail(f"{path}: {error}\n{statement}")
        assert count > 10
    finally:
        await connection.close()


@pytest.mark.parametrize("example", shown(blocks("python")))
def test_a_program_runs(example: str, market: str):
    program = re.sub(r'"postgresql://[^"]+"', repr(market), example)
    assert program != example
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
