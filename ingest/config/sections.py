"""The sections of the configuration: keys, their meaning, defaults, and the values that are refused.

Checks that depend on the known exchanges and providers are in `ingest/config/settings.py`.
https://docs.pydantic.dev/latest/concepts/fields/
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator

from ingest.indicators.names import DEFAULT, parse
from ingest.records import INTERVALS
from ingest.tables import TABLES

_UNITS = {"ms": 0.001, "s": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86400, "day": 86400}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)


def parse_duration(value: object) -> timedelta:
    """Parses `"90 days"`, `"1s"` or `"500 ms"`. Raises ValueError for anything else, also for a number without a unit."""
    if isinstance(value, timedelta):  # a default
        return value
    match = _DURATION.fullmatch(str(value))
    if match is not None and not match[2]:
        raise ValueError(f'{value} has no unit; right would be "{match[1]} ms", "{match[1]} s" or "{match[1]} days"')
    unit = match[2].lower() if match else ""
    seconds = _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s"))  # in this order: "ms" is not a plural of "m"
    if match is None or seconds is None:
        raise ValueError(f'{value!r} is not a duration; right would be "90 days", "12 hours", "1s" or "500 ms"')
    try:
        return timedelta(seconds=float(match[1]) * seconds)
    except OverflowError as error:
        raise ValueError(f"{value!r} is too long; the longest duration is {timedelta.max.days} days") from error


def _parse_optional(value: object) -> timedelta | None:
    return None if value == "none" else parse_duration(value)


def _parse_fsync(value: object) -> object:
    try:
        return value if value in ("always", "never") else parse_duration(value)
    except ValueError as error:
        raise ValueError(f'{error}; or "always" or "never"') from error


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError(f'{value} is too short; right would be "1s"')
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
OptionalDuration = Annotated[timedelta | None, BeforeValidator(_parse_optional)]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]


def _proxy_address(value: SecretStr) -> SecretStr:
    try:
        address = urlsplit(value.get_secret_value())
        known = address.scheme in _PROXIES and bool(address.hostname) and address.port is not None
    except ValueError:  # an invalid port, an unclosed bracket
        known = False
    if not known:
        raise ValueError(
            f'is not the address of a proxy; right would be "socks5://user:password@host:1080", known: {_PROXIES_TEXT}'
        )
    return value


_PROXIES = ("http", "https", "socks4", "socks5")
_PROXIES_TEXT = ", ".join(f"{scheme}://" for scheme in _PROXIES)
ProxyAddress = Annotated[SecretStr, AfterValidator(_proxy_address)]


class Section(BaseModel):
    """Base of all sections: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Database(Section):
    """The connections to TimescaleDB."""

    dsn: SecretStr = Field(
        description=(
            "DSN of the writers, with the role `ingest_writer`. The connection may go through PgBouncer in transaction mode."
        )
    )
    admin_dsn: SecretStr | None = Field(
        default=None,
        description=(
            "DSN of migrations and maintenance tasks, with the role `ingest_migrate`, which has the owner's "
            "rights. The connection must be direct. Without it, `ingest run` disables the maintenance tasks."
        ),
    )
    pool_size: int = Field(default=12, ge=1, le=100, description="Size of the connection pool of the writers.")

    @field_validator("dsn", "admin_dsn")
    @classmethod
    def _postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _is_postgresql(value.get_secret_value()):
            raise ValueError('is not a PostgreSQL address; right would be "postgresql://user@host:5432/database"')
        return value


def _is_postgresql(dsn: str) -> bool:
    try:
        address = urlsplit(dsn)
        return address.scheme in ("postgresql", "postgres") and (address.port is None or address.port > 0)
    except ValueError:  # an invalid port, an unclosed bracket
        return False


class Book(Section):
    """How order books are stored."""

    depth: int = Field(default=20, ge=1, le=1000, description="Price levels stored on each side.")
    interval: PositiveDuration = Field(
        default=timedelta(seconds=1),
        description="Sampling interval on the exchange's time: at each tick the last state before it is stored.",
    )


class Quotes(Section):
    """How the best bid and ask are stored."""

    interval: PositiveDuration = Field(
        default=timedelta(seconds=1),
        description="Sampling interval on the exchange's time: at each tick the last quote before it is stored.",
    )


class ExchangeSection(Section):
    """One exchange: streamed, or only backfilled (through ccxt). NAME is the exchange's name, or any name if `protocol` is set."""

    protocol: str | None = Field(
        default=None,
        description=("The exchange whose protocol is used, for a section with another name. By default the name of the section."),
    )
    instruments: tuple[str, ...] = Field(description="Markets in unified spelling, such as `BTC/USDT`.")
    channels: tuple[str, ...] = Field(
        default=("trades", "candles", "book", "quotes"), description="Channels that are streamed for each instrument."
    )
    trade_kind: str | None = Field(
        default=None,
        description=(
            "The trade feed that is stored, if the exchange has several. By default the feed with every fill. All "
            "trades of an instrument must be of one kind."
        ),
    )
    book: Book = Book()
    quotes: Quotes = Quotes()
    ws_url: str | None = Field(
        default=None, description="Websocket address that replaces the exchange's own, such as a test network."
    )
    rest_url: str | None = Field(default=None, description="REST address that replaces the exchange's own.")
    archive_url: str | None = Field(default=None, description="Address of the archive files that replaces the exchange's own.")
    proxy: ProxyAddress | None = Field(
        default=None,
        description=(
            "Proxy of all requests to the exchange, those of gap filling and backfill too: `http://`, `https://`, `socks4://` "
            "or `socks5://user:password@host:port`."
        ),
    )
    capture: bool = Field(default=False, description="Write all received messages to `capture.path`, for `ingest replay`.")
    history: OptionalDuration = Field(
        default=None,
        description=(
            "How far back trades and candles of a new instrument are loaded, limited by `retention`. By default nothing is loaded."
        ),
    )

    @property
    def proxy_url(self) -> str | None:
        """The proxy's URL with its password, or None."""
        return None if self.proxy is None else self.proxy.get_secret_value()


class Budget(Section):
    """The budget of requests to a provider."""

    per_minute: int | None = Field(default=None, ge=1, description="Maximum requests per minute. By default the plan's limit.")
    per_month: int | None = Field(default=None, ge=1, description="Maximum requests per month. By default the plan's limit.")


class PollerSection(Section):
    """One provider that is polled. NAME is the provider's name."""

    enabled: bool | None = Field(
        default=None, description="Whether the provider is polled. By default `true`, unless its terms forbid commercial use."
    )
    plan: str | None = Field(
        default=None,
        description="Name of the provider's plan. By default the first plan with a key if `api_key` is set, else without.",
    )
    api_key: SecretStr | None = Field(
        default=None,
        description=(
            "API key; better set by environment, `..._API_KEY`, or from a file, `..._API_KEY_FILE`, than here. A provider that "
            "requires a key is `disabled` without it."
        ),
    )
    budget: Budget = Budget()
    interval: PositiveDuration | None = Field(
        default=None, description="Time between two turns; longer if the budget requires it. By default the plan's interval."
    )
    symbols: tuple[str, ...] = Field(default=("BTC", "ETH"), description="Coins that are requested.")
    ids: dict[str, str] = Field(default={}, description="The provider's id of a coin, by symbol, if the poller cannot find it.")
    channels: tuple[str, ...] = Field(
        default=(), description="Subreddits or Telegram channels that are read. By default the poller's own list."
    )
    min_usd: int = Field(default=1_000_000, ge=1, description="Smallest transfer that is stored, in USD.")
    labels: Path | None = Field(default=None, description="CSV file with the owners of addresses, `address,label` on each line.")
    base_url: str | None = Field(default=None, description="Address that replaces the provider's own.")
    timeout: PositiveDuration = Field(default=timedelta(seconds=30), description="Time limit of one request.")
    proxy: ProxyAddress | None = Field(
        default=None, description="Proxy: `http://`, `https://`, `socks4://` or `socks5://user:password@host:port`."
    )


class PlatformSection(Section):
    """The exchanges that a platform's views read. NAME is `ai_trading` or `mastertrade`."""

    exchanges: tuple[str, ...] = Field(
        default=(),
        description=(
            "Exchanges in order of preference: a symbol's data is that of the first which lists it. By default all: `binance` "
            "first, then by name."
        ),
    )


class Queue(Section):
    """The bounds of each table's queue, alike for all tables. Memory is at most `max_bytes` for each table."""

    batch_rows: int = Field(default=5_000, ge=1, le=100_000, description="Maximum rows of a batch.")
    max_age: Duration = Field(
        default=timedelta(milliseconds=250),
        description="Maximum time that a row waits until its batch is written, even if the batch is not full.",
    )
    max_rows: int = Field(default=200_000, ge=1, description="Maximum rows in a queue.")
    max_bytes: int = Field(default=64 << 20, ge=1 << 16, description="Maximum bytes in a queue.")
    max_wait: Duration = Field(
        default=timedelta(seconds=10), description="Maximum time that a reader waits for room in a full queue; then rows are shed."
    )
    workers: int = Field(default=2, ge=1, le=16, description="Batches of a table that are written concurrently.")


class Capture(Section):
    """Captures of exchanges with `capture = true`."""

    path: Path = Field(
        default=Path("captures"), description="Directory of this daemon alone, with a subdirectory for each exchange."
    )
    max_bytes: int = Field(
        default=10 << 30, ge=1 << 20, description="Maximum bytes of an exchange's captures. The oldest files are deleted."
    )
    rotate: PositiveDuration = Field(
        default=timedelta(hours=1),
        description="Maximum time span of a file. A file also ends at a sixteenth of `capture.max_bytes`.",
    )


class Heal(Section):
    """Gap filling from the exchanges' history."""

    enabled: bool = Field(default=True, description="Whether this daemon fills gaps.")
    after: PositiveDuration = Field(
        default=timedelta(seconds=30), description="Minimum age of a gap before it is filled, because exchanges' histories lag."
    )
    interval: PositiveDuration = Field(default=timedelta(seconds=5), description="Time between two searches for gaps.")


AtBound = Literal["wait", "shed"]
_WAIT: dict[str, AtBound] = {table.name: "wait" for table in TABLES}


class Spool(Section):
    """The disk spool for rows that cannot be written while the database is unavailable."""

    path: Path | None = Field(default=None, description="Directory of this daemon alone. Without it there is no spool.")
    max_bytes: int = Field(default=1 << 30, ge=1 << 16, description="Maximum bytes of the directory.")
    fsync: Annotated[timedelta | Literal["always", "never"], BeforeValidator(_parse_fsync)] = Field(
        default=timedelta(seconds=1),
        description="When files are synced to disk: at this interval, `always` after each batch, or `never`.",
    )
    start_after: Duration = Field(
        default=timedelta(seconds=5),
        description=("Time without the database before rows go to the spool. Meanwhile, a half-full queue goes there at once."),
    )
    when_full: dict[str, AtBound] = Field(
        default_factory=lambda: dict(_WAIT),
        description=(
            "By table, when the spool is full: `wait` keeps rows in the queue, `shed` drops them, so that readers do not wait. "
            "By default `wait`."
        ),
    )

    @field_validator("when_full")
    @classmethod
    def _known_tables(cls, value: dict[str, AtBound]) -> dict[str, AtBound]:
        for name in value:
            if name not in _WAIT:
                raise ValueError(f"unknown table '{name}'; known: {', '.join(_WAIT)}")
        return _WAIT | value


class Indicators(Section):
    """Technical indicators, computed from closed candles."""

    names: tuple[str, ...] = Field(default=DEFAULT, description="Indicators with their periods. `[]` computes none.")
    intervals: tuple[str, ...] = Field(
        default=tuple(INTERVALS), description="Intervals of the candles from which they are computed."
    )
    exchanges: tuple[str, ...] = Field(default=(), description="Sections of `[exchanges]` whose candles are used. By default all.")
    instruments: tuple[str, ...] = Field(
        default=(), description="Instruments whose candles are used, in unified spelling. By default all."
    )

    @field_validator("names")
    @classmethod
    def _known_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            parse(name)
        return value

    @field_validator("intervals")
    @classmethod
    def _known_intervals(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for interval in value:
            if interval not in INTERVALS:
                raise ValueError(f"unknown interval '{interval}'; known: {', '.join(INTERVALS)}")
        return value

    @field_validator("*")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if twice := [item for item in value if value.count(item) > 1]:
            raise ValueError(f"'{twice[0]}' is listed more than once")
        return value


class Server(Section):
    """The HTTP server for metrics, health and status."""

    host: str = Field(
        default="127.0.0.1",
        description="Address on which `/metrics`, `/livez`, `/readyz`, `/status` and the status page are served.",
    )
    port: int = Field(default=9464, ge=0, le=65535, description="TCP port; 0 for any free port.")
    hosts: tuple[str, ...] = Field(
        default=(),
        description=(
            "Names by which clients may address the server, such as `ingest.example`. Addresses, `localhost` and `server.host` are "
            "always allowed; a request with another `Host` gets 421."
        ),
    )


class Log(Section):
    """The log, on standard error."""

    format: Literal["console", "json"] = Field(default="console", description="Format of the lines: text for people, or JSON.")
    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Minimum severity of logged events.")
