"""The configuration: sources of a value, and the messages of wrong values."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from ingest import registry
from ingest.config.settings import PREFIX, Settings, load
from ingest.errors import Stop
from ingest.indicators.names import KINDS, example
from ingest.tables import BARS, TABLES

SECRET = "geheim-4711"
DATABASE = f'[database]\ndsn = "postgresql://writer:{SECRET}@localhost/market"\n'
BINANCE = DATABASE + '[exchanges.binance]\ninstruments = ["BTC/USDT"]\n'
RETENTION = DATABASE + "[retention]\n"

KNOWN = f"known, with these or other parameters: {', '.join(map(example, KINDS.values()))}"

Load = Callable[..., Settings]


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads a TOML text with these INGEST__ variables and no others."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)

    def configure(toml: str = DATABASE, overrides: dict[str, Any] | None = None, **environment: str) -> Settings:
        path = tmp_path / "ingest.toml"
        path.write_text(toml)
        for name, value in environment.items():
            monkeypatch.setenv(PREFIX + name, value)
        return load(path, overrides)

    return configure


def test_a_file_is_read_and_the_rest_is_default(configured: Load) -> None:
    settings = configured(
        BINANCE + 'channels = ["trades"]\ntrade_kind = "aggTrade"\nbook = { depth = 5, interval = "500 ms" }\n'
        '[retention]\ntrades = "none"\ncandles = "2 days"\n[queue]\nmax_wait = "1s"\n'
    )
    section = settings.exchanges["binance"]
    assert (section.instruments, section.channels, section.trade_kind) == (("BTC/USDT",), ("trades",), "aggTrade")
    assert (section.book.depth, section.book.interval) == (5, timedelta(milliseconds=500))
    assert section.quotes.interval == timedelta(seconds=1)
    retention = {table.name: table.retention for table in TABLES} | {"trades": None, "candles": timedelta(days=2)}
    compress_after = {table.name: table.compress_after for table in TABLES}
    assert {name: settings.retention[name] for name in retention} == retention
    assert {name: settings.compress_after[name] for name in compress_after} == compress_after
    assert (settings.queue.max_wait, settings.queue.max_rows) == (timedelta(seconds=1), 200_000)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("500 ms", timedelta(milliseconds=500)),
        ("1s", timedelta(seconds=1)),
        ("2 seconds", timedelta(seconds=2)),
        ("1.5 min", timedelta(seconds=90)),
        ("5m", timedelta(minutes=5)),
        ("12 Hours", timedelta(hours=12)),
        ("7d", timedelta(days=7)),
        ("90 days", timedelta(days=90)),
    ],
)
def test_durations(configured: Load, text: str, duration: timedelta) -> None:
    assert configured(DATABASE + f'[queue]\nmax_age = "{text}"\n').queue.max_age == duration


def durations(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every setting that is a duration. Where a section has named parts, one valid name is used."""
    names = {"exchanges": "binance", "pollers": "cboe", "platforms": "mastertrade"}
    for key, field in model.model_fields.items():
        kinds = {field.annotation, *get_args(field.annotation)}
        sections = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if sections:
            yield from durations(sections[0], (*path, key, *([names[key]] if key in names else [])))
        elif "timedelta" in repr(field.annotation):
            yield (*path, key, "trades") if get_origin(field.annotation) is dict else (*path, key)


DURATION_PATHS = list(durations(Settings))


def test_these_settings_are_durations() -> None:
    assert {".".join(path) for path in DURATION_PATHS} == {
        "compress_after.trades",
        "exchanges.binance.book.interval",
        "exchanges.binance.history",
        "exchanges.binance.quotes.interval",
        "heal.after",
        "heal.interval",
        "pollers.cboe.interval",
        "pollers.cboe.timeout",
        "queue.max_age",
        "queue.max_wait",
        "capture.rotate",
        "retention.trades",
        "shutdown_timeout",
        "spool.fsync",
        "spool.start_after",
    }


@pytest.mark.parametrize("path", DURATION_PATHS, ids=".".join)
@pytest.mark.parametrize("value", ["250", "0", "1.5", '"250"'])
def test_a_number_without_a_unit_is_no_duration(configured: Load, path: tuple[str, ...], value: str) -> None:
    number = value.strip('"')
    message = f'{".".join(path)}: {number} has no unit; right would be "{number} ms", "{number} s" or "{number} days"'
    binance = "" if path[0] == "exchanges" else '[exchanges.binance]\ninstruments = ["BTC/USDT"]\n'
    *section, key = path
    setting = f"[{'.'.join(section)}]\n{key} = {value}\n" if section else ""
    top = "" if section else f"{key} = {value}\n"
    with pytest.raises(Stop) as stop:
        configured(top + DATABASE + binance + setting, EXCHANGES__BINANCE__INSTRUMENTS='["BTC/USDT"]')
    assert str(stop.value).startswith(message)


@pytest.mark.parametrize("path", DURATION_PATHS, ids=".".join)
def test_a_number_without_a_unit_in_the_environment_is_no_duration(configured: Load, path: tuple[str, ...]) -> None:
    message = f'{".".join(path)}: 250 has no unit; right would be "250 ms", "250 s" or "250 days"'
    with pytest.raises(Stop) as stop:
        configured(BINANCE, **{"__".join(path).upper(): "250"})
    assert str(stop.value).startswith(message)
    *section, key = path
    if section:  # the whole section as JSON
        value: object = {key: 250}
        for name in reversed(section[1:]):
            value = {name: value}
        with pytest.raises(Stop) as stop:
            configured(BINANCE, **{section[0].upper(): json.dumps(value)})
        assert message in str(stop.value)


def test_the_environment_overrides_single_keys(configured: Load) -> None:
    toml = BINANCE + "book = { depth = 5 }\n[queue]\nbatch_rows = 10\nworkers = 3\n"
    settings = configured(toml, QUEUE__BATCH_ROWS="20", EXCHANGES__BINANCE__BOOK__DEPTH="7", LOG='{"level": "debug"}')
    assert (settings.queue.batch_rows, settings.queue.workers) == (20, 3)
    assert (settings.exchanges["binance"].instruments, settings.exchanges["binance"].book.depth) == (("BTC/USDT",), 7)
    assert settings.log.level == "debug"


def test_the_environment_is_enough(configured: Load) -> None:
    settings = configured("", DATABASE__DSN="postgresql://a@b/c", EXCHANGES__OKX__INSTRUMENTS='["BTC/USDT"]')
    assert settings.database.dsn.get_secret_value() == "postgresql://a@b/c"
    assert settings.exchanges["okx"].instruments == ("BTC/USDT",)


def test_a_secret_is_given_by_file(configured: Load, tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("postgresql://migrate:other@localhost/market\n")
    settings = configured(DATABASE, DATABASE__ADMIN_DSN_FILE=str(tmp_path / "dsn"))
    assert settings.database.admin_dsn is not None
    assert settings.database.admin_dsn.get_secret_value() == "postgresql://migrate:other@localhost/market"
    assert SECRET in settings.database.dsn.get_secret_value()


def test_overrides_replace_sections_of_the_file(configured: Load) -> None:
    demo = {"exchanges": {"demo": {"protocol": "binance", "instruments": ["ETH/USDT"]}}}
    settings = configured(BINANCE, demo)
    assert list(settings.exchanges) == ["demo"]
    assert settings.exchanges["demo"].instruments == ("ETH/USDT",)


def test_a_secret_is_in_no_text(configured: Load) -> None:
    settings = configured()
    assert SECRET in settings.database.dsn.get_secret_value()
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


DSN_WRONG = 'database.dsn: is not a PostgreSQL address; right would be "postgresql://user@host:5432/database"'
DURATIONS = 'right would be "90 days", "12 hours", "1s" or "500 ms"'


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("", "database: is missing"),
        ("[database]", "database.dsn: is missing"),
        (f'database = "{SECRET}"', "database: Input should be a valid dictionary or instance of Database"),
        (f'[database]\ndsn = ["{SECRET}"]', "database.dsn: Input should be a valid string"),
        (f'[database]\ndsn = "mysql://{SECRET}@b/c"', DSN_WRONG),
        (f'[database]\ndsn = "postgresql://{SECRET}@b:port/c"', DSN_WRONG),
        (f'[database]\ndsn = "postgresql://{SECRET}@[b/c"', DSN_WRONG),
        (DATABASE + "pool = 3", "database.pool: unknown key; known: dsn, admin_dsn, pool_size"),
        (DATABASE + "pool_size = 0", "database.pool_size: Input should be greater than or equal to 1"),
        (DATABASE + "[sevrer]", f"sevrer: unknown key; known: {', '.join(Settings.model_fields)}"),
        (DATABASE + "[server]\nport = 70000", "server.port: Input should be less than or equal to 65535 (got 70000)"),
        (DATABASE + '[log]\nlevel = "loud"', "log.level: Input should be 'debug', 'info', 'warning' or 'error' (got 'loud')"),
        (DATABASE + '[queue]\nmax_age = "soon"', f"queue.max_age: 'soon' is not a duration; {DURATIONS}"),
        (DATABASE + '[queue]\nmax_age = "none"', f"queue.max_age: 'none' is not a duration; {DURATIONS}"),
        (
            DATABASE + '[queue]\nmax_age = "999999999999 days"',
            "queue.max_age: '999999999999 days' is too long; the longest duration is 999999999 days",
        ),
        (DATABASE + "[queue]\nmax_age = true", f"queue.max_age: True is not a duration; {DURATIONS}"),
        (DATABASE + '[queue]\nmax_age = "3 parsecs"', f"queue.max_age: '3 parsecs' is not a duration; {DURATIONS}"),
        (
            DATABASE + '[retention]\ncandle = "1 day"',
            f"retention: unknown table 'candle'; known: {', '.join([*(table.name for table in TABLES), *BARS])}",
        ),
        (
            DATABASE + '[retention]\ntrades = "0 days"',
            'retention: trades is 0:00:00; right would be "90 days", or "none" for never',
        ),
        (
            DATABASE + '[exchanges.bianance]\ninstruments = ["BTC/USDT"]',
            f"exchanges: unknown exchange 'bianance'; known: {', '.join(sorted(registry.exchanges()))}",
        ),
        (
            DATABASE + '[exchanges.kraken]\ninstruments = ["BTC/USD"]\nproxy = "socks5h://user:secret@host:1080"',
            "exchanges.kraken.proxy: is not the address of a proxy; "
            'right would be "socks5://user:password@host:1080", known: http://, https://, socks4://, socks5://',
        ),
        (
            DATABASE + '[pollers.coingecko]\nproxy = "host"',
            "pollers.coingecko.proxy: is not the address of a proxy; "
            'right would be "socks5://user:password@host:1080", known: http://, https://, socks4://, socks5://',
        ),
        (
            DATABASE + '[exchanges.database]\ninstruments = ["BTC/USDT"]\npaths = 1',
            "exchanges.database.paths: unknown key; known: protocol, instruments, channels, trade_kind, book, quotes, "
            "ws_url, rest_url, archive_url, proxy, capture, history",
        ),
        (DATABASE + "[exchanges.binance]\n", "exchanges.binance.instruments: is missing"),
        (
            DATABASE + "[exchanges.binance]\ninstruments = []",
            'exchanges.binance.instruments: is empty; right would be ["BTC/USDT"]',
        ),
        (
            DATABASE + '[exchanges.binance]\ninstruments = ["A/B", "A/B"]',
            "exchanges.binance.instruments: 'A/B' is listed more than once",
        ),
        (BINANCE + 'channels = ["book", "book"]', "exchanges.binance.channels: 'book' is listed more than once"),
        (
            BINANCE + 'channels = ["ohlcv"]',
            "exchanges.binance.channels: unknown channel 'ohlcv'; known: trades, candles, book, quotes",
        ),
        (BINANCE + 'trade_kind = "trades"', "exchanges.binance.trade_kind: unknown trade kind 'trades'; known: trade, aggTrade"),
        (BINANCE + "book = { height = 5 }", "exchanges.binance.book.height: unknown key; known: depth, interval"),
        (BINANCE + "book = { depth = 0 }", "exchanges.binance.book.depth: Input should be greater than or equal to 1 (got 0)"),
        (BINANCE + 'book = { interval = "0s" }', 'exchanges.binance.book.interval: 0:00:00 is too short; right would be "1s"'),
        (DATABASE + "[indicators]\nnames = ['SMAA_20']", f"indicators.names: unknown indicator 'SMAA_20'; {KNOWN}"),
        (DATABASE + "[indicators]\nnames = ['SMA_20', 'SMA_20']", "indicators.names: 'SMA_20' is listed more than once"),
        (
            DATABASE + "[indicators]\nintervals = ['2m']",
            "indicators.intervals: unknown interval '2m'; known: 1m, 5m, 15m, 1h, 4h, 1d",
        ),
        (BINANCE + "[indicators]\nexchanges = ['okx']", "indicators.exchanges: no section [exchanges.okx]; known: binance"),
        (
            BINANCE + "[indicators]\ninstruments = ['BTC/EUR']",
            "indicators.instruments: 'BTC/EUR' is configured for no exchange; known: BTC/USDT",
        ),
    ],
)
def test_the_message_of_a_wrong_value(configured: Load, toml: str, message: str) -> None:
    with pytest.raises(Stop) as stop:
        configured(toml)
    assert str(stop.value) == message


def test_every_wrong_key_has_its_line(configured: Load) -> None:
    with pytest.raises(Stop) as stop:
        configured(DATABASE + 'foo = 1\n[log]\nlevel = "loud"\n')
    assert [line.split(":")[0] for line in str(stop.value).splitlines()] == ["database.foo", "log.level"]


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("SERVR__PORT", "1", "environment INGEST__SERVR__PORT: unknown section 'servr'; known: name, database"),
        ("SERVER__PROT", "1", "server.prot: unknown key; known: host, port"),
        ("SERVER__PORT", "many", "server.port: Input should be a valid integer"),
        ("EXCHANGES", "[x", 'environment INGEST__...: error parsing value for field "exchanges"'),
        ("DATABASE__DSN_FILE", "/nowhere", "environment INGEST__DATABASE__DSN_FILE: /nowhere: No such file or directory"),
    ],
)
def test_the_message_of_a_wrong_variable(configured: Load, variable: str, value: str, message: str) -> None:
    with pytest.raises(Stop) as stop:
        configured(DATABASE, **{variable: value})
    assert str(stop.value).startswith(message)


def test_a_secret_file_for_a_section_that_is_no_table(configured: Load, tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("postgresql://a@b/c")
    with pytest.raises(Stop, match="database: Input should be a valid dictionary"):
        configured("database = 3", DATABASE__DSN_FILE=str(tmp_path / "dsn"))


def test_a_secret_file_that_is_no_text(configured: Load, tmp_path: Path) -> None:
    (tmp_path / "dsn").write_bytes(b"\xff\xfe")
    with pytest.raises(Stop, match=r"INGEST__DATABASE__DSN_FILE: .*dsn: not UTF-8"):
        configured(DATABASE, DATABASE__DSN_FILE=str(tmp_path / "dsn"))


@pytest.mark.parametrize(
    ("content", "message"), [(b"x = [", "not TOML: "), (b"name = '\xff'", "not TOML: "), (None, "No such file")]
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "ingest.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Stop, match=f"configuration {path}: {message}"):
        load(path)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"cryptomax": {"exchanges": ["kraken"]}},
            "platforms: 'cryptomax' is not a platform whose views read exchanges; known: ai_trading, ",
        ),
        (
            {"mastertrade": {"exchanges": ["bynance"]}},
            "platforms.mastertrade.exchanges: unknown exchange 'bynance'; known: binance, ",
        ),
        (
            {"mastertrade": {"exchanges": ["kraken", "kraken"]}},
            "platforms.mastertrade.exchanges: 'kraken' is listed more than once",
        ),
    ],
)
def test_the_message_of_a_wrong_platform(section: dict[str, object], message: str):
    with pytest.raises(Stop, match=re.escape(message)):
        load(None, {"database": {"dsn": "postgresql://somebody@localhost/market"}, "platforms": section})
