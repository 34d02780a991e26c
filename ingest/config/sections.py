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
    """`"90 days"`, `"1s"`, `"500 ms"` as a timedelta. Raises ValueError for anything else, a number without a unit included."""
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


class Section(BaseModel):
    """A section is frozen and refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Database(Section):
    """How the daemon reaches TimescaleDB."""

    dsn: SecretStr = Field(
        description=("Where the writers connect, as `ingest_writer`. It may pass through PgBouncer in transaction mode.")
    )
    admin_dsn: SecretStr | None = Field(
        default=None,
        description=(
            "Where migrations and maintenance tasks connect, directly and with the owner's rights, as "
            "`ingest_migrate`. Without it they are disabled."
        ),
    )
    pool_size: int = Field(default=12, ge=1, le=100, description="Connections of the writers.")

    @field_validator("dsn", "admin_dsn")
    @classmethod
    def _postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _is_postgresql(value.get_secret_value()):
            raise ValueError('is no PostgreSQL address; right would be "postgresql://user@host:5432/database"')
        return value


def _is_postgresql(dsn: str) -> bool:
    try:
        address = urlsplit(dsn)
        return address.scheme in ("postgresql", "postgres") and (address.port is None or address.port > 0)
    except ValueError:  # an invalid port, an unclosed bracket
        return False


class Book(Section):
    """How order books are stored."""

    depth: int = Field(default=20, ge=1, le=1000, description="Levels on each side.")
    interval: PositiveDuration = Field(
        default=timedelta(seconds=1), description="The grid of event time on which books are stored."
    )


class Quotes(Section):
    """How the best bid and ask are stored."""

    interval: PositiveDuration = Field(
        default=timedelta(seconds=1), description="The grid of event time on which the best bid and ask are stored."
    )


class ExchangeSection(Section):
    """One exchange, streamed, or backfilled through ccxt. NAME is the exchange's, or yours where `protocol` names the exchange."""

    protocol: str | None = Field(
        default=None,
        description=(
            "The exchange whose protocol is spoken, where the section has a name of its own. By default the section's name."
        ),
    )
    instruments: tuple[str, ...] = Field(description="Markets in unified spelling: `BTC/USDT`.")
    channels: tuple[str, ...] = Field(
        default=("trades", "candles", "book", "quotes"), description="What is streamed of each instrument."
    )
    trade_kind: str | None = Field(
        default=None,
        description=(
            "Which of the exchange's trade feeds is stored. By default the one with every fill. One instrument has "
            "trades of one kind only."
        ),
    )
    book: Book = Book()
    quotes: Quotes = Quotes()
    ws_url: str | None = Field(
        default=None, description="Websocket address instead of the exchange's own: a proxy, a test network, a replay."
    )
    rest_url: str | None = Field(default=None, description="The same for REST.")
    archive_url: str | None = Field(default=None, description="The same for its published files.")
    proxy: SecretStr | None = Field(default=None, description="`http://...` or `socks5://...`, for websockets and HTTP.")
    capture: bool = Field(default=False, description="Keep everything that the exchange sends, for `ingest replay`.")
    history: OptionalDuration = Field(
        default=None,
        description=(
            "How far back the trades and candles of a new instrument are fetched; `retention` bounds it. By default not at all."
        ),
    )

    @property
    def proxy_url(self) -> str | None:
        """The proxy with its password."""
        return None if self.proxy is None else self.proxy.get_secret_value()


class Budget(Section):
    """How many requests a provider is sent."""

    per_minute: int | None = Field(default=None, ge=1, description="Requests a minute at most. By default the plan's.")
    per_month: int | None = Field(
        default=None, ge=1, description="Requests a month at most. By default the plan's. The interval follows from both."
    )


class PollerSection(Section):
    """One provider that is polled. NAME is the provider's."""

    enabled: bool | None = Field(
        default=None, description="Whether the provider is asked. By default yes, unless its terms forbid commercial use."
    )
    plan: str | None = Field(
        default=None, description="Which of the provider's plans. By default the first that fits: with a key or without."
    )
    api_key: SecretStr | None = Field(
        default=None, description="The key, by environment or file. Without it a provider that needs one is `disabled`."
    )
    budget: Budget = Budget()
    interval: PositiveDuration | None = Field(
        default=None, description="Time between two turns, as far as the budget allows it. By default the plan's."
    )
    symbols: tuple[str, ...] = Field(default=("BTC", "ETH"), description="The coins to ask for.")
    ids: dict[str, str] = Field(default={}, description="The provider's id of a symbol that it does not know by itself.")
    channels: tuple[str, ...] = Field(
        default=(), description="What else to read: subreddits, Telegram channels. By default the provider's own."
    )
    min_usd: int = Field(default=1_000_000, ge=1, description="The smallest transfer that is stored, in USD.")
    labels: Path | None = Field(default=None, description="A file that says whose an address is, `address,label` on each line.")
    base_url: str | None = Field(default=None, description="Address instead of the provider's own.")
    timeout: PositiveDuration = Field(default=timedelta(seconds=30), description="How long one response may take.")
    proxy: SecretStr | None = Field(default=None, description="`http://...` or `socks5://...`.")


class PlatformSection(Section):
    """Which exchanges a platform sees. NAME is `ai_trading` or `mastertrade`."""

    exchanges: tuple[str, ...] = Field(
        default=(),
        description=(
            "Which exchange answers for a symbol: the first of these that lists it. By default all, `binance` first, then by name."
        ),
    )


class Queue(Section):
    """The bounded queue of each table."""

    batch_rows: int = Field(default=5_000, ge=1, le=100_000, description="Rows of one batch at most.")
    max_age: Duration = Field(
        default=timedelta(milliseconds=250), description="How long a row waits for others of its batch at most."
    )
    max_rows: int = Field(default=200_000, ge=1, description="Bound of a queue in rows.")
    max_bytes: int = Field(default=64 << 20, ge=1 << 16, description="Bound of a queue in bytes.")
    max_wait: Duration = Field(
        default=timedelta(seconds=10), description="How long a reader waits for room before the table sheds rows."
    )
    workers: int = Field(default=2, ge=1, le=16, description="Batches of one table that are written at once.")


class Capture(Section):
    """Where captures are written, of exchanges with `capture = true`."""

    path: Path = Field(
        default=Path("captures"), description="A directory of this daemon's own, with one below it for each exchange."
    )
    max_bytes: int = Field(
        default=10 << 30, ge=1 << 20, description="Bound of one exchange's captures, in bytes. The oldest files are deleted."
    )
    rotate: PositiveDuration = Field(
        default=timedelta(hours=1), description="How long one file is written at most. It also ends at a sixteenth of the bound."
    )


class Heal(Section):
    """Filling gaps from the exchanges' history."""

    enabled: bool = Field(default=True, description="Whether this daemon fills gaps.")
    after: PositiveDuration = Field(
        default=timedelta(seconds=30), description="The age at which a gap is filled. Histories of exchanges lag a little."
    )
    interval: PositiveDuration = Field(default=timedelta(seconds=5), description="Time between two searches for gaps.")


AtBound = Literal["wait", "shed"]
_WAIT: dict[str, AtBound] = {table.name: "wait" for table in TABLES}


class Spool(Section):
    """Where rows wait on disk while the database is away."""

    path: Path | None = Field(default=None, description="A directory of this daemon's own. Without it there is no spool.")
    max_bytes: int = Field(default=1 << 30, ge=1 << 16, description="Bound of the directory, in bytes.")
    fsync: Annotated[timedelta | Literal["always", "never"], BeforeValidator(_parse_fsync)] = Field(
        default=timedelta(seconds=1),
        description=("How often the files are forced to disk: an interval, after each batch, or when the kernel does."),
    )
    start_after: Duration = Field(
        default=timedelta(seconds=5),
        description=("How long the database is away before rows go to the spool. They go at once when a queue is half full."),
    )
    when_full: dict[str, AtBound] = Field(
        default_factory=lambda: dict(_WAIT),
        description=(
            "By table, at the bound: `wait` keeps rows in the queue, `shed` drops them, so that no reader waits. By default `wait`."
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
    """Which technical indicators are computed from closed candles."""

    names: tuple[str, ...] = Field(default=DEFAULT, description="Which indicators, with their periods. `[]` computes none.")
    intervals: tuple[str, ...] = Field(
        default=tuple(INTERVALS), description="The intervals of the candles that they are computed from."
    )
    exchanges: tuple[str, ...] = Field(default=(), description="Only of these sections of `[exchanges]`. By default all.")
    instruments: tuple[str, ...] = Field(default=(), description="Only of these instruments, in unified spelling. By default all.")

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
        if twice := [one for one in value if value.count(one) > 1]:
            raise ValueError(f"'{twice[0]}' stands there more than once")
        return value


class Server(Section):
    """Where metrics, health and status are served."""

    host: str = Field(
        default="127.0.0.1",
        description=("The address on which `/metrics`, `/livez`, `/readyz`, `/status` and the status page are served."),
    )
    port: int = Field(default=9464, ge=0, le=65535, description="The port. 0 takes a free one.")


class Log(Section):
    """What the daemon writes to standard error."""

    format: Literal["console", "json"] = Field(default="console", description="One line for each event, for people or as JSON.")
    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="The least severity that is logged.")
