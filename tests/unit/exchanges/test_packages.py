"""Each exchange is a small package of the same files, made of shared parts, and the page about them is current."""

from __future__ import annotations

import builtins
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from ingest import marketdata, records, registry
from ingest.marketdata import channels, rest, session, streamed_book, subscriptions, synced_book, values
from ingest.marketdata import history as paging
from ingest.protocol import decode, exchange, http
from ingest.protocol import history as past
from ingest.protocol import session as connection
from ingest.protocol.exchange import Exchange

ROOT = Path(__file__).parents[3] / "ingest"
PACKAGES = sorted(path.parent for path in (ROOT / "exchanges").glob("*/exchange.py"))
PAGE = (ROOT / "exchanges" / "README.md").read_text()
FILES = {"__init__.py", "exchange.py", "messages.py", "parse.py", "history.py"}
LARGER = {
    "binance": 840,  # parses trades and books from slices of the frame, and reads four kinds of archive files
    "coinbase": 780,  # two feeds: trades announced by heartbeats and candles by REST; books of another websocket
    "gate": 430,  # shows where the candles of a market begin, beside those that it keeps
    "kraken": 520,  # two spellings of each pair, and a checksum over digits
}
CONTRACT = {name for name in (*Exchange.__annotations__, *vars(Exchange)) if not name.startswith("_")}


def lines(*paths: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in paths)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_package_has_the_files_that_the_page_names(package: Path) -> None:
    assert {path.name for path in package.glob("*.py")} >= FILES
    module: Any = registry.exchanges()[package.name]
    assert module.__name__ == f"ingest.exchanges.{package.name}.exchange"
    assert [name for name in sorted(CONTRACT) if not hasattr(module, name)] == []
    assert set(module.CHANNELS) == {"trades", "candles", "book", "quotes"}
    assert all(isinstance(channel, channels.Channel) for channel in module.CHANNELS.values())


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_package_is_small(package: Path) -> None:
    assert lines(*package.glob("*.py")) <= LARGER.get(package.name, 400)


def test_the_packages_are_small_on_average() -> None:
    assert lines(*(ROOT / "exchanges").glob("*/*.py")) <= 525 * len(PACKAGES)


def test_the_shared_parts_are_small() -> None:
    whole = set(Path(marketdata.__path__[0]).glob("*.py"))
    assert lines(*(path for path in whole if path.stem not in ("order_book", "forming_candle"))) <= 1800


def test_the_page_is_short_and_names_everything_that_a_package_has() -> None:
    assert len(PAGE.encode()) < 6 * 1024
    assert [name for name in sorted(FILES) if f"`{name}`" not in PAGE] == []
    code = set(re.findall(r"[A-Za-z_]\w+", " ".join(re.findall(r"`([^`\n]+)`", PAGE))))
    assert sorted(CONTRACT - code) == []


def test_every_part_that_the_page_names_exists() -> None:
    contract = (decode, exchange, http, past, connection)
    parts = (builtins, *contract, channels, paging, rest, session, streamed_book, subscriptions, synced_book, values, records)
    known = {name for part in parts for name, _ in inspect.getmembers(part)}
    fields = {name for spec in (channels.Trades, channels.Candles) for name in spec.__struct_fields__}
    named = set(re.findall(r"`(?:rest\.)?([A-Z][a-z]\w+|[a-z]+_[a-z_]+)(?:\([^`]*\))?`", PAGE))
    assert sorted(named - known - fields - CONTRACT) == ["candles_from_rest", "trades_from_rest"]  # functions of the package itself
    assert {"Trades", "SyncedBook", "StreamedBook", "candle_windows", "price_and_size", "Rejected"} <= named


def test_the_tables_of_messages_name_every_exchange() -> None:
    table = (ROOT / "exchanges" / "channels.md").read_text()
    assert set(re.findall(r"^\| (\w+) \| trades \|", table, re.MULTILINE)) == set(registry.exchanges())
