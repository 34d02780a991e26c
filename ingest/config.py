"""The configuration: a TOML file and the environment, made into frozen settings. Opens nothing but that file and secret files.

Every key is also an environment variable, `INGEST__SECTION__KEY`, which wins over the file; a value there may be JSON. A secret may
be given by file: `INGEST__DATABASE__DSN_FILE`. Unknown keys are refused.
https://docs.pydantic.dev/latest/concepts/pydantic_settings/
"""

from __future__ import annotations

import os
import re
import socket
import tomllib
import typing
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from ingest import registry
from ingest.errors import Stop
from ingest.flow import Exchange
from ingest.tables import BARS, TABLES

PREFIX = "INGEST__"

_UNITS = {"ms": 0.001, "s": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86400, "day": 86400}
_LENGTH = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.IGNORECASE)


def parse_length(value: object) -> object:
    """`"90 days"`, `"1s"`, `"500 ms"` as a timedelta."""
    if not isinstance(value, str):
        return value
    match = _LENGTH.fullmatch(value)
    unit = match[2].lower() if match else ""
    seconds = _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s"))  # in this order: "ms" is no plural of "m"
    if match is None or seconds is None:
        raise ValueError(f'\'{value}\' is no length; right would be "90 days", "12 hours", "1s" or "500 ms"')
    return timedelta(seconds=float(match[1]) * seconds)


def _parse_optional(value: object) -> object:
    return None if value == "none" else parse_length(value)


def _parse_fsync(value: object) -> object:
    try:
        return value if value in ("always", "never") else parse_length(value)
    except ValueError as error:
        raise ValueError(f'\'{value}\' is wrong; right would be "always", "never" or a length, "1s"') from error


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError(f'{value} is too short; right would be "1s"')
    return value


Length = Annotated[timedelta, BeforeValidator(parse_length)]
OptionalLength = Annotated[timedelta | None, BeforeValidator(_parse_optional)]
Step = Annotated[Length, AfterValidator(_positive)]


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
    every: Step = Field(default=timedelta(seconds=1), description="the grid of event time")


class Quotes(Section):
    every: Step = Field(default=timedelta(seconds=1), description="the grid of event time")


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
    record: bool = Field(default=False, description="keep every frame, for `ingest replay`")
    history: OptionalLength = Field(
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
    every: Step | None = Field(default=None, description="how often it is asked, as far as the budget allows")
    symbols: tuple[str, ...] = Field(default=("BTC", "ETH"), description="the coins to ask for")
    ids: dict[str, str] = Field(default={}, description="the provider's id of a symbol that it does not know by itself")
    base_url: str | None = Field(default=None, description="instead of the provider's own")
    proxy: SecretStr | None = Field(default=None, description='"http://..." or "socks5://..."')


class Queue(Section):
    batch_rows: int = Field(default=5_000, ge=1, le=100_000, description="rows of a batch at most")
    max_age: Length = Field(default=timedelta(milliseconds=250), description="how long a row waits for others at most")
    max_rows: int = Field(default=200_000, ge=1, description="bound of a lane in rows")
    max_bytes: int = Field(default=64 << 20, ge=1 << 16, description="bound of a lane in bytes")
    max_wait: Length = Field(default=timedelta(seconds=10), description="how long a reader waits for room before its table sheds")
    workers: int = Field(default=2, ge=1, le=16, description="batches of one table in flight at once")


class Record(Section):
    path: Path = Field(default=Path("captures"), description="a folder of this daemon's own; each source has one below it")
    max_bytes: int = Field(default=10 << 30, ge=1 << 20, description="bound of one source's captures; the oldest are deleted")
    rotate: Step = Field(default=timedelta(hours=1), description="how long one file is written, at most")


class Heal(Section):
    enabled: bool = Field(default=True, description="whether this daemon closes gaps")
    after: Step = Field(default=timedelta(seconds=30), description="how old a gap must be; histories are a little behind")
    every: Step = Field(default=timedelta(seconds=5), description="how often it is looked for gaps")


AtBound = Literal["wait", "shed"]
_WAIT: dict[str, AtBound] = {table.name: "wait" for table in TABLES}


class Spool(Section):
    path: Path | None = Field(default=None, description="a directory of this daemon's own; without it there is no spool")
    max_bytes: int = Field(default=1 << 30, ge=1 << 16, description="bound of the directory")
    fsync: Annotated[timedelta | Literal["always", "never"], BeforeValidator(_parse_fsync)] = Field(
        default=timedelta(seconds=1), description='"always", "never", or how often'
    )
    after: Length = Field(default=timedelta(seconds=5), description="how long the database may be away before its rows go there")
    full: dict[str, AtBound] = Field(
        default_factory=lambda: dict(_WAIT), description="by table, at the bound: wait in the lane, or shed at once"
    )

    @field_validator("full")
    @classmethod
    def _known_tables(cls, value: dict[str, AtBound]) -> dict[str, AtBound]:
        for name in value:
            if name not in _WAIT:
                raise ValueError(f"unknown table '{name}'; known: {', '.join(_WAIT)}")
        return _WAIT | value


class Server(Section):
    host: str = Field(default="127.0.0.1", description="where /metrics, /livez, /readyz and the status page are served")
    port: int = Field(default=9464, ge=0, le=65535, description="0 takes a free one")


class Log(Section):
    format: Literal["console", "json"] = Field(default="console", description="one line an event, for people or machines")
    level: Literal["debug", "info", "warning", "error"] = "info"


def _lengths(default: dict[str, timedelta | None]) -> Any:
    return Field(default_factory=lambda: dict(default))


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=PREFIX, env_nested_delimiter="__", nested_model_default_partial_update=True
    )

    name: str = Field(
        default_factory=socket.gethostname, description="this daemon among others: leases, and keys without event time"
    )
    database: Database
    exchanges: dict[str, ExchangeSection] = {}
    pollers: dict[str, PollerSection] = {}
    retention: dict[str, OptionalLength] = _lengths({table.name: table.retention for table in TABLES})
    compress_after: dict[str, OptionalLength] = _lengths({table.name: table.compress_after for table in TABLES})
    queue: Queue = Queue()
    record: Record = Record()
    durability: Literal["memory", "spool", "always"] | None = Field(
        default=None, description="where rows wait for the database; spool where spool.path is set, else memory"
    )
    spool: Spool = Spool()
    heal: Heal = Heal()
    server: Server = Server()
    log: Log = Log()
    shutdown_timeout: Length = Field(default=timedelta(seconds=30), description="from SIGTERM until what is left is given up")
    migrate_on_start: bool = Field(default=False, description="apply pending migrations in `ingest run`; else it only checks")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        assert isinstance(env_settings, EnvSettingsSource)
        # a variable that names a secret's file is no key: `load` has read the file
        env_settings.env_vars = {name: value for name, value in env_settings.env_vars.items() if not name.endswith("_file")}
        return env_settings, init_settings  # the environment wins over the file, which arrives as keywords

    @field_validator("retention", "compress_after")
    @classmethod
    def _known_tables(cls, value: dict[str, timedelta | None], info: Any) -> dict[str, timedelta | None]:
        known = {table.name: getattr(table, info.field_name) for table in TABLES}
        if info.field_name == "retention":
            known |= dict.fromkeys(BARS)
        for name, length in value.items():
            if name not in known:
                raise ValueError(f"unknown table '{name}'; known: {', '.join(known)}")
            if length is not None and length <= timedelta(0):
                raise ValueError(f'{name} is {length}; right would be "90 days", or "none" for never')
        return known | value

    @model_validator(mode="after")
    def _has_a_spool(self) -> Self:
        if self.durability in ("spool", "always") and self.spool.path is None:
            raise ValueError(f'durability: "{self.durability}" needs spool.path; right would be "/var/lib/ingest/spool"')
        return self

    @model_validator(mode="after")
    def _known_exchanges(self) -> Self:
        known = registry.exchanges()
        for name, section in self.exchanges.items():
            protocol = section.protocol or name
            if protocol in known:
                _check_exchange(name, section, known[protocol])
            elif not registry.is_of_ccxt(protocol):
                raise ValueError(f"exchanges: unknown exchange '{protocol}'; known: {', '.join(sorted(known))}")
            _check_instruments(name, section)
        return self

    @model_validator(mode="after")
    def _known_pollers(self) -> Self:
        known = registry.pollers()
        for name, section in self.pollers.items():
            if name not in known:
                raise ValueError(f"pollers: unknown poller '{name}'; known: {', '.join(sorted(known))}")
            if section.plan not in (None, *known[name].PLANS):
                raise ValueError(f"{name}: unknown plan '{section.plan}'; known: {', '.join(known[name].PLANS)}")
        return self


def _check_exchange(name: str, section: ExchangeSection, module: Exchange) -> None:
    for channel in section.channels:
        if channel not in module.CHANNELS:
            raise ValueError(f"{name}: unknown channel '{channel}'; known: {', '.join(module.CHANNELS)}")
    if section.trade_kind not in (None, *module.TRADE_KINDS):
        raise ValueError(f"{name}: unknown trade_kind '{section.trade_kind}'; known: {', '.join(module.TRADE_KINDS)}")


def _check_instruments(name: str, section: ExchangeSection) -> None:
    if not section.instruments:
        raise ValueError(f'{name}: instruments is empty; right would be ["BTC/USDT"]')
    for key, values in (("instruments", section.instruments), ("channels", section.channels)):
        if twice := [one for one in values if values.count(one) > 1]:
            raise ValueError(f"{name}: {key} has '{twice[0]}' more than once")


def load(path: Path | None, overrides: dict[str, Any] | None = None) -> Settings:
    """Settings from a file (if any, `overrides` replace its sections) and the environment. Raises Stop, a line per wrong key."""
    try:
        values = tomllib.loads(path.read_text()) if path else {}
    except OSError as error:
        raise Stop(f"configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Stop(f"configuration {path}: not TOML: {error}") from error
    _refuse_unknown_variables()
    for variable, keys in _secret_files():
        _put(values, keys, _read_secret(variable))
    try:
        return Settings(**(values | (overrides or {})))
    except ValidationError as error:
        raise Stop("\n".join(_explain(problem) for problem in error.errors(include_url=False))) from error
    except SettingsError as error:
        raise Stop(f"environment {PREFIX}...: {error}: {error.__cause__}; a value of several parts is JSON there") from error


def _refuse_unknown_variables() -> None:
    """pydantic-settings looks only for variables that it knows: a misspelt section would go unnoticed."""
    for variable in os.environ:
        if variable.startswith(PREFIX):
            section = variable.removeprefix(PREFIX).split("__")[0].lower()
            if section not in Settings.model_fields:
                raise Stop(f"environment {variable}: unknown section '{section}'; known: {', '.join(Settings.model_fields)}")


def _secret_files() -> Iterator[tuple[str, list[str]]]:
    for variable in os.environ:
        if variable.startswith(PREFIX) and variable.endswith("_FILE"):
            yield variable, variable.removeprefix(PREFIX).removesuffix("_FILE").lower().split("__")


def _read_secret(variable: str) -> str:
    try:
        return Path(os.environ[variable]).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise Stop(f"environment {variable}: {os.environ[variable]}: {reason}") from error


def _put(values: dict[str, Any], keys: list[str], value: str) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):  # not a section: the validation will say so
            return
    values[keys[-1]] = value


def _explain(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "configuration"
    match problem["type"]:
        case "extra_forbidden":
            return f"{where}: unknown key; known: {', '.join(_known(problem['loc'][:-1]))}"
        case "missing":
            return f"{where}: is missing"
        case "value_error":
            return f"{where}: {problem['ctx']['error']}" if problem["loc"] else str(problem["ctx"]["error"])
    shown = "" if any(secret in where for secret in ("database", "key", "proxy")) else f" (got {problem['input']!r})"
    return f"{where}: {problem['msg']}{shown}"


def _known(path: tuple[int | str, ...]) -> list[str]:
    """The keys of the section that stands at `path`."""
    model: Any = Settings
    for part in path:
        is_dict = typing.get_origin(model) is dict
        model = typing.get_args(model)[1] if is_dict else model.model_fields[str(part)].annotation
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
