"""Generates tables of the pages from the code: `.venv/bin/python deploy/generated_docs.py`.

A page marks the place with `<!-- generated: NAME -->` and `<!-- end -->`; the script replaces the text between them. NAME is a key
of `BLOCKS`. `tests/project/test_docs.py` fails if a page is not current.
"""

from __future__ import annotations

import argparse
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from chaos.plan import KINDS as KINDS_OF_FAULT
from evidence_table import EVIDENCE_HEAD, evidence_rows
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from role_matrix import HEAD, role_rows

from ingest import registry
from ingest.cli.arguments import parser
from ingest.config.sections import PollerSection
from ingest.config.settings import Settings
from ingest.indicators.names import DEFAULT, KINDS, example
from ingest.metrics import Metrics
from ingest.pollers._news_rules import TOPICS
from ingest.polling.provider import Plan, Provider
from ingest.protocol.exchange import Exchange
from ingest.sources.poller import interval_of
from ingest.sources.provider_backfill import Historic
from ingest.sources.run_state import State
from ingest.tables import TABLES, Table

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
UNITS = {"day": 86_400.0, "hour": 3_600.0, "minute": 60.0, "s": 1.0, "ms": 0.001}
BYTES = {"GiB": 1 << 30, "MiB": 1 << 20}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in (head, *rows)]
    return "".join([lines[0], "|---" * len(head) + "|\n", *lines[1:]])


def duration(length: timedelta) -> str:
    """The length in the largest unit that gives a whole number: `90 days`, `1 s`, `250 ms`."""
    seconds = length.total_seconds()
    for unit, size in UNITS.items():
        if seconds and not (count := seconds / size) % 1:
            return f"{count:.0f} {unit}{'s' if count > 1 and len(unit) > 2 else ''}"
    return "0"


def code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


# --- settings -------------------------------------------------------------------------------------------------------------


def settings() -> str:
    """A table of the keys outside sections, then a table for each section."""
    single, sections = [], []
    for name, field in Settings.model_fields.items():
        model, path = _section(field, name)
        if model is None and path == name:
            single.append(_setting(path, field))
        elif model is None:
            sections.append((name, "", [_setting(path, field)]))
        else:
            sections.append((name, inspect.cleandoc(model.__doc__ or ""), list(_settings(model, path))))
    names = " ".join(f"[`[{name}]`](#{name})" for name, _, _ in sections)
    text = f"Sections: {names}\n\n## Keys outside sections\n\n" + table(_SETTING, single)
    for name, about, rows in sections:
        page = f"See [{_SECTION_PAGES[name][0]}]({_SECTION_PAGES[name][1]})." if name in _SECTION_PAGES else ""
        intro = " ".join(filter(None, (about, page)))
        text += f"\n## [{name}]\n\n{intro and intro + chr(10) * 2}{table(_SETTING, rows)}"
    return text


# section -> the title and address of the page that explains it
_SECTION_PAGES = {
    "database": ("production", "../../deploy/docs/production.md"),
    "exchanges": ("exchanges", "../sources/docs/exchanges.md"),
    "pollers": ("providers", "../pollers/docs/README.md"),
    "platforms": ("platforms", "../store/docs/platforms.md"),
    "queue": ("the write path", "../pipeline/README.md"),
    "spool": ("the write path", "../pipeline/README.md"),
    "capture": ("capture and replay", "../sources/docs/capture.md"),
    "heal": ("coverage and gaps", "../store/docs/coverage.md"),
    "indicators": ("indicators", "../store/docs/indicators.md"),
    "retention": ("tables", "../store/docs/tables.md"),
    "compress_after": ("tables", "../store/docs/tables.md"),
}


_SETTING = ("key", "values", "default", "meaning")


def _settings(model: type[BaseModel], path: str) -> Iterator[Sequence[str]]:
    for name, field in model.model_fields.items():
        inner, key = _section(field, f"{path}.{name}")
        if inner is None:
            yield _setting(key, field)
        else:
            yield from _settings(inner, key)


def _section(field: FieldInfo, path: str) -> tuple[type[BaseModel] | None, str]:
    """The model of a section, or None for a key; and the path, in which NAME stands for the key of a mapping."""
    kind: Any = field.annotation
    if typing.get_origin(kind) is dict:
        kind, path = typing.get_args(kind)[1], f"{path}.NAME"
    return (kind if inspect.isclass(kind) and issubclass(kind, BaseModel) else None), path


def _setting(path: str, field: FieldInfo) -> Sequence[str]:
    kind: Any = field.annotation
    values = _values(typing.get_args(kind)[1] if typing.get_origin(kind) is dict else kind, field.metadata)
    return f"`{path}`", values, _default(field), field.description or ""


def _values(kind: Any, metadata: Sequence[Any] = ()) -> str:
    """The allowed values in words."""
    if typing.get_origin(kind) is typing.Annotated:
        kind, *metadata = typing.get_args(kind)
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        parts = typing.get_args(kind)
        # an optional duration with a validator accepts "none"; any other None only means that the key is not set
        switched_off = ['`"none"`'] if types.NoneType in parts and timedelta in parts and metadata else []
        return ", ".join([*(_values(part, metadata) for part in parts if part is not types.NoneType), *switched_off])
    if typing.get_origin(kind) is Literal:
        return ", ".join(f'`"{value}"`' for value in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return "list of text"
    words = {bool: "`true`, `false`", str: "text", Path: "path", SecretStr: "secret", timedelta: "duration"}
    return words.get(kind) or _whole_number(metadata)


def _whole_number(metadata: Sequence[Any]) -> str:
    least = next((bound.ge for bound in metadata if hasattr(bound, "ge")), None)
    most = next((bound.le for bound in metadata if hasattr(bound, "le")), None)
    bounds = {(True, True): f"{least} to {most}", (True, False): f"{least} or more"}
    return bounds.get((least is not None, most is not None), "whole number")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if field.default_factory is not None or value is None or value in ({}, ()):
        return ""
    if isinstance(value, timedelta):
        return f'`"{duration(value)}"`'
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int):
        return f"`{value}`" + next((f" ({value // size} {unit})" for unit, size in BYTES.items() if not value % size), "")
    return code(value) if isinstance(value, tuple) else f'`"{value}"`'


# --- commands -------------------------------------------------------------------------------------------------------------


def commands() -> str:
    """A section for each command, with its options."""
    (choice,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    parts = []
    for name, sub in choice.choices.items():
        actions = [action for action in sub._actions if action.dest not in ("help", "config")]
        rows = [(_option(action), _help(action)) for action in actions]
        parts.append(
            f"## ingest {name}\n\n{_sentence(sub.description or '')}\n"
            + (f"\n{table(('option', 'meaning'), rows)}" if rows else "")
        )
    return "\n".join(parts)


def _option(action: argparse.Action) -> str:
    value = action.metavar if isinstance(action.metavar, str) else ""
    value = value or ("|".join(action.choices) if action.choices else "")
    if not action.option_strings:
        return f"`{value}`"
    return ", ".join(f"`{one} {value}`" if value else f"`{one}`" for one in action.option_strings)


def _help(action: argparse.Action) -> str:
    return _sentence(action.help or "") + (" Required." if action.required and action.option_strings else "")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("." if text and not text.endswith(".") else "")


# --- metrics --------------------------------------------------------------------------------------------------------------


def metrics() -> str:
    """Every metric: those with declared objects, and those that are collected from the counters."""
    return table(("metric", "type", "labels", "meaning"), sorted(_metrics()))


def _metrics() -> Iterator[Sequence[str]]:
    made = Metrics()
    labels = {
        metric.describe()[0].name: metric._labelnames for metric in vars(made).values() if isinstance(metric, MetricWrapperBase)
    }
    for family in made.registry.collect():
        if family.name.startswith("ingest_"):
            known = labels.get(family.name) or getattr(family, "_labelnames", ())
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield f"`{name}`", family.type, code(known), family.documentation


# --- the database ---------------------------------------------------------------------------------------------------------


def tables() -> str:
    """Every hypertable with its key, its policies and the meaning of a row."""
    head = ("table", "key", "chunk", "compressed after", "kept", "a row is")
    return table(head, (_hypertable(item) for item in TABLES))


def _hypertable(item: Table) -> Sequence[str]:
    lengths = (duration(length) if length else "never" for length in (item.chunk, item.compress_after))
    about = (item.record.__doc__ or "").partition(".")[0]
    return (
        f"`{item.name}`",
        ", ".join(item.key),
        *lengths,
        duration(item.retention) if item.retention else "forever",
        about[:1].lower() + about[1:],
    )


def columns() -> str:
    """The columns of every hypertable. The meaning is the comment at the field in `ingest/records.py`."""
    parts = []
    for item in TABLES:
        comments = dict(re.findall(r"^    (\w+): [^#\n]*#\s*(.+)$", inspect.getsource(item.record), re.MULTILINE))
        rows = [
            (
                f"`{column.name}`",
                column.type + (" ?" if column.nullable else ""),
                comments.get(column.name, "").replace("None", "NULL"),
            )
            for column in item.columns
        ]
        parts.append(f"## {item.name}\n\n{table(('column', 'type', 'meaning'), rows)}")
    return "\n".join(parts)


def indicators() -> str:
    """Every kind with its default parameters, and the indicators that are computed by default."""
    rows = []
    for kind in KINDS.values():
        parameters = ", ".join(f"{parameter.name} {parameter.default:g}" for parameter in kind.parameters if parameter.default)
        first, *more = kind.outputs
        rows.append((f"`{example(kind)}`", parameters, first if more else "", code(more)))
    head = ("name", "parameters", "`value`", "`metadata`")
    return f"{table(head, rows)}\nComputed by default: {code(DEFAULT)}.\n"


def states() -> str:
    """Every state with its comment in the source."""
    found = re.findall(r'= "(\w+)"(?:  # (.+))?$', inspect.getsource(State), re.MULTILINE)
    return table(("state", "meaning"), ((f"`{state}`", about) for state, about in found))


# --- sources --------------------------------------------------------------------------------------------------------------


def audit() -> str:
    """The comparisons that the audit can make at each exchange, by trade kind."""
    rows = []
    for name, module in sorted(_exchanges().items()):
        rules = module.COMPLETENESS
        rows.append(
            (f"`{name}`", code(rules.dense), "yes" if rules.empty_candles else "", code(rules.counted), code(rules.charted))
        )
    return table(("exchange", "`ids`", "`bucket`", "`count`", "`bars`"), rows)


def providers() -> str:
    """Every provider with its tables, key, budget and interval."""
    head = ("provider", "fills", "key", "maximum requests", "interval", "by default", "`ingest backfill`")
    return table(head, (_provider(name, module) for name, module in sorted(_pollers().items())))


def _pollers() -> dict[str, Provider]:
    """The providers of this package, without those of other installed packages."""
    return {name: module for name, module in registry.pollers().items() if getattr(module, "__package__", "") == "ingest.pollers"}


def _provider(name: str, module: Provider) -> Sequence[str]:
    plans = module.PLANS
    keyed = [plan for plan in plans.values() if plan.key]
    key = "none" if not keyed else "required" if len(keyed) == len(plans) else "optional"
    requests = [f"{label}: {_budget(plan)}" if len(plans) > 1 else _budget(plan) for label, plan in plans.items()]
    turns = dict.fromkeys(_rounded(interval_of(plan, module, PollerSection())) for plan in plans.values())
    state = "on" if any(plan.default_on for plan in plans.values()) else "off"
    past = "yes" if isinstance(module, Historic) else ""
    return f"[`{name}`]({name}.md)", code(module.TABLES), key, "; ".join(requests), ", ".join(turns), state, past


def _rounded(seconds: float) -> str:
    """The interval, rounded to minutes or hours if it is at least two of them."""
    size = next(size for size in (3_600.0, 60.0, 1.0) if seconds >= 2 * size or size == 1.0)
    return duration(timedelta(seconds=round(seconds / size) * size))


def _budget(plan: Plan) -> str:
    return f"{plan.per_minute:,} a minute" + (f", {plan.per_month:,} a month" if plan.per_month else "")


def news_topics() -> str:
    """The words that define the topics of news, highest level first."""
    return table(("level", "topic", "words"), ((topic.level, f"`{topic.name}`", topic.words) for topic in TOPICS))


def _exchanges() -> dict[str, Exchange]:
    """The exchanges of this package, without those of other installed packages."""
    return {name: module for name, module in registry.exchanges().items() if "ingest.exchanges." in getattr(module, "__name__", "")}


def exchanges() -> str:
    """Every exchange with the values that the configuration accepts."""
    rows = []
    for name, module in sorted(_exchanges().items()):
        markets = (module.__doc__ or "").partition("\n")[0].partition(":")[0].rstrip(".")
        rows.append((f"`{name}`", markets, code(module.CHANNELS), code(module.TRADE_KINDS), code(module.VIA)))
    return table(("exchange", "markets", "`channels`", "`trade_kind`", "`--via`"), rows)


def provider_names() -> str:
    """The providers by the table that they fill, each with a link to its page."""
    by_table: dict[str, list[str]] = {}
    for name, module in sorted(_pollers().items()):
        by_table.setdefault(module.TABLES[0], []).append(f"[{name}](ingest/pollers/docs/{name}.md)")
    return "".join(f"- `{name}`: {', '.join(found)}\n" for name, found in sorted(by_table.items()))


def faults() -> str:
    """Every kind of fault that `deploy/chaos.sh` injects."""
    return table(("kind", "what happens"), ((f"`{kind}`", about) for kind, about in KINDS_OF_FAULT.items()))


# --- the pages ------------------------------------------------------------------------------------------------------------

BLOCKS: dict[str, Callable[[], str]] = {
    "audit": audit,
    "columns": columns,
    "commands": commands,
    "evidence": lambda: table(EVIDENCE_HEAD, evidence_rows(_exchanges())),
    "exchange-names": lambda: code(sorted(_exchanges())) + ".\n",
    "exchanges": exchanges,
    "faults": faults,
    "indicators": indicators,
    "metrics": metrics,
    "news-topics": news_topics,
    "provider-names": provider_names,
    "providers": providers,
    "roles": lambda: table(HEAD, role_rows()),
    "settings": settings,
    "states": states,
    "tables": tables,
}


def pages() -> list[Path]:
    """Every page of the checkout, without hidden directories."""
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*.md"))
    return sorted(path for path in found if not any(part.startswith(".") for part in path.parts))


def generated(text: str) -> str:
    """The page with current tables. Raises KeyError for an unknown block."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]]()}\n{found[3]}", text)


def main() -> None:
    for path in pages():
        before = (ROOT / path).read_text()
        after = generated(before)
        if after != before:
            (ROOT / path).write_text(after)
            print(f"written: {path}")


if __name__ == "__main__":
    main()
