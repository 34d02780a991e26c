"""The sections of the configuration: which keys there are, what they mean, their defaults, and the values that are refused.

What needs the knowledge of which exchanges and providers there are is checked in `ingest/config/settings.py`.
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
    """Frozen, and no key that we do not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Database(Section):
    dsn: SecretStr = Field(description="where the writers connect; may pass through PgBouncer")
    admin_dsn: SecretStr | None = Field(
        default=None, description="for migrations, leases and maintenance: direct, as the owner's member"
    )
    pool_size: int = Field(default=12, ge=1, le=100, description="connections of the writers")

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
    except ValueError:  # a port that is no number, a bracket that is not closed
        return False


class Book(Section):
    depth: int = Field(default=20, ge=1, le=1000, description="levels a side")
    interval: PositiveDuration = Field(default=timedelta(seconds=1), description="the grid of event time")


class Quotes(Section):
    interval: PositiveDuration = Field(default=timedelta(seconds=1), description="the grid of event time")


class ExchangeSection(Section):
    protocol: str | None = Field(
        default=None, description="which exchange's protocol it speaks, where the section has another name"
    )
    instruments: tuple[str, ...] = Field(description='in unified spelling, "BTC/USDT"')
    channels: tuple[str, ...] = Field(
        default=("trades", "candles", "book", "quotes"), description="what to hold of each instrument"
    )
    trade_kind: str | None = Field(default=None, description="which of the exchange's trade feeds is stored; its default otherwise")
    book: Book = Book()
    quotes: Quotes = Quotes()
    ws_url: str | None = Field(default=None, description="instead of the exchange's own: proxies, test networks, replay")
    rest_url: str | None = Field(default=None, description="as ws_url, for HTTP")
    archive_url: str | None = Field(default=None, description="as ws_url, for bulk files")
    proxy: SecretStr | None = Field(default=None, description='"http://..." or "socks5://..."')
    capture: bool = Field(default=False, description="keep every frame, for `ingest replay`")
    history: OptionalDuration = Field(
        default=None, description="how far back a new instrument's trades and candles are fetched; retention bounds it"
    )

    @property
    def proxy_url(self) -> str | None:
        """The proxy with its password, for whoever connects through it."""
        return None if self.proxy is None else self.proxy.get_secret_value()


class Budget(Section):
    per_minute: int | None = Field(default=None, ge=1, description="requests a minute at most; the plan's own otherwise")
    per_month: int | None = Field(default=None, ge=1, description="requests a month, of which the interval follows")


class PollerSection(Section):
    enabled: bool | None = Field(default=None, description="whether it is asked; by default where its terms allow commercial use")
    plan: str | None = Field(default=None, description="which of the provider's plans; by default the one for the key, or for none")
    api_key: SecretStr | None = Field(default=None, description="by environment or file; without it what needs a key is disabled")
    budget: Budget = Budget()
    interval: PositiveDuration | None = Field(default=None, description="how often it is asked, as far as the budget allows")
    symbols: tuple[str, ...] = Field(default=("BTC", "ETH"), description="the coins to ask for")
    ids: dict[str, str] = Field(default={}, description="the provider's id of a symbol that it does not know by itself")
    channels: tuple[str, ...] = Field(default=(), description="what else to read where a provider has channels; its own otherwise")
    min_usd: int = Field(default=1_000_000, ge=1, description="the smallest transfer to tell, in USD")
    labels: Path | None = Field(default=None, description="a file that says whose an address is, a line each: address,label")
    base_url: str | None = Field(default=None, description="instead of the provider's own")
    timeout: PositiveDuration = Field(default=timedelta(seconds=30), description="how long one answer may take")
    proxy: SecretStr | None = Field(default=None, description='"http://..." or "socks5://..."')


class PlatformSection(Section):
    exchanges: tuple[str, ...] = Field(
        default=(),
        description="which exchange answers for a symbol: the first of these that has it; by default every one, binance first",
    )


class Queue(Section):
    batch_rows: int = Field(default=5_000, ge=1, le=100_000, description="rows of a batch at most")
    max_age: Duration = Field(default=timedelta(milliseconds=250), description="how long a row waits for others at most")
    max_rows: int = Field(default=200_000, ge=1, description="bound of a lane in rows")
    max_bytes: int = Field(default=64 << 20, ge=1 << 16, description="bound of a lane in bytes")
    max_wait: Duration = Field(default=timedelta(seconds=10), description="how long a reader waits for room before its table sheds")
    workers: int = Field(default=2, ge=1, le=16, description="batches of one table in flight at once")


class Capture(Section):
    path: Path = Field(default=Path("captures"), description="a folder of this daemon's own; each source has one below it")
    max_bytes: int = Field(default=10 << 30, ge=1 << 20, description="bound of one source's captures; the oldest are deleted")
    rotate: PositiveDuration = Field(default=timedelta(hours=1), description="how long one file is written, at most")


class Heal(Section):
    enabled: bool = Field(default=True, description="whether this daemon closes gaps")
    after: PositiveDuration = Field(default=timedelta(seconds=30), description="the age from which a gap is filled; histories lag")
    interval: PositiveDuration = Field(default=timedelta(seconds=5), description="time between two searches for gaps")


AtBound = Literal["wait", "shed"]
_WAIT: dict[str, AtBound] = {table.name: "wait" for table in TABLES}


class Spool(Section):
    path: Path | None = Field(default=None, description="a directory of this daemon's own; without it there is no spool")
    max_bytes: int = Field(default=1 << 30, ge=1 << 16, description="bound of the directory")
    fsync: Annotated[timedelta | Literal["always", "never"], BeforeValidator(_parse_fsync)] = Field(
        default=timedelta(seconds=1), description='"always", "never", or how often'
    )
    start_after: Duration = Field(
        default=timedelta(seconds=5), description="how long the database may be away before rows go to the spool"
    )
    when_full: dict[str, AtBound] = Field(
        default_factory=lambda: dict(_WAIT), description="by table, at the bound: wait in the queue, or shed at once"
    )

    @field_validator("when_full")
    @classmethod
    def _known_tables(cls, value: dict[str, AtBound]) -> dict[str, AtBound]:
        for name in value:
            if name not in _WAIT:
                raise ValueError(f"unknown table '{name}'; known: {', '.join(_WAIT)}")
        return _WAIT | value


class Indicators(Section):
    names: tuple[str, ...] = Field(default=DEFAULT, description="which, with their periods; [] computes none")
    intervals: tuple[str, ...] = Field(default=tuple(INTERVALS), description="of the candles that they are computed of")
    exchanges: tuple[str, ...] = Field(default=(), description="sections of the configuration; all where none is named")
    instruments: tuple[str, ...] = Field(default=(), description='in unified spelling, "BTC/USDT"; all where none is named')

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
    host: str = Field(default="127.0.0.1", description="where /metrics, /livez, /readyz and the status page are served")
    port: int = Field(default=9464, ge=0, le=65535, description="0 takes a free one")


class Log(Section):
    format: Literal["console", "json"] = Field(default="console", description="one line an event, for people or machines")
    level: Literal["debug", "info", "warning", "error"] = "info"
