"""Reads the configuration, a TOML file and the environment, into frozen settings. Opens no other file but those of secrets.

Every key is also an environment variable, `INGEST__SECTION__KEY`, which wins over the file; a value there may be JSON. A secret may
be given by file: `INGEST__DATABASE__DSN_FILE`. Unknown keys are refused.
https://docs.pydantic.dev/latest/concepts/pydantic_settings/
"""

from __future__ import annotations

import os
import socket
import tomllib
import typing
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from ingest.config.sections import (
    Capture,
    Database,
    Duration,
    ExchangeSection,
    Heal,
    Indicators,
    Log,
    OptionalDuration,
    PlatformSection,
    PollerSection,
    Queue,
    Server,
    Spool,
)
from ingest.errors import Stop
from ingest.tables import BARS, TABLES

PREFIX = "INGEST__"


def _durations(default: dict[str, timedelta | None], description: str) -> Any:
    return Field(default_factory=lambda: dict(default), description=description)


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=PREFIX, env_nested_delimiter="__", nested_model_default_partial_update=True
    )

    name: str = Field(
        default_factory=socket.gethostname,
        description=(
            "This daemon's name among those of one database: it holds leases, and is in the key of rows without event "
            "time. By default the host's name."
        ),
    )
    database: Database
    exchanges: dict[str, ExchangeSection] = {}
    pollers: dict[str, PollerSection] = {}
    platforms: dict[str, PlatformSection] = {}
    retention: dict[str, OptionalDuration] = _durations(
        {table.name: table.retention for table in TABLES},
        "By table: how long rows are kept; older ones are dropped, and not accepted. The defaults are in the list of tables. "
        "`bars_1m`, `bars_1h`, `daily_ohlcv` and `prices_daily` can be named as well, and are kept forever by default.",
    )
    compress_after: dict[str, OptionalDuration] = _durations(
        {table.name: table.compress_after for table in TABLES},
        "By table: the age at which chunks are compressed. The defaults are in the list of tables. Community edition only.",
    )
    queue: Queue = Queue()
    capture: Capture = Capture()
    durability: Literal["memory", "spool", "always"] | None = Field(
        default=None, description="Where rows wait for the database. By default `spool` where `spool.path` is set, else `memory`."
    )
    spool: Spool = Spool()
    heal: Heal = Heal()
    indicators: Indicators = Indicators()
    server: Server = Server()
    log: Log = Log()
    shutdown_timeout: Duration = Field(
        default=timedelta(seconds=30),
        description=("How long SIGTERM waits until everything is committed. What is left goes to the spool, or is shed."),
    )
    migrate_on_start: bool = Field(
        default=False,
        description=(
            "Apply pending migrations in `ingest run`. Otherwise the daemon waits, not ready, until `ingest migrate` has run."
        ),
    )

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
        # a variable that names the file of a secret is not a key: `load` has read the file
        env_settings.env_vars = {name: value for name, value in env_settings.env_vars.items() if not name.endswith("_file")}
        return env_settings, init_settings  # the environment has priority over the file, whose values are keyword arguments

    @field_validator("retention", "compress_after")
    @classmethod
    def _known_tables(cls, value: dict[str, timedelta | None], info: Any) -> dict[str, timedelta | None]:
        known = {table.name: getattr(table, info.field_name) for table in TABLES}
        if info.field_name == "retention":
            known |= dict.fromkeys(BARS)
        for name, duration in value.items():
            if name not in known:
                raise ValueError(f"unknown table '{name}'; known: {', '.join(known)}")
            if duration is not None and duration <= timedelta(0):
                raise ValueError(f'{name} is {duration}; right would be "90 days", or "none" for never')
        return known | value

    @model_validator(mode="after")
    def _has_a_spool(self) -> Self:
        if self.durability in ("spool", "always") and self.spool.path is None:
            raise ValueError(f'durability: "{self.durability}" needs spool.path; right would be "/var/lib/ingest/spool"')
        return self


def load(path: Path | None, overrides: dict[str, Any] | None = None, *, sources: bool = True) -> Settings:
    """Settings from a file (if any, `overrides` replace its sections) and the environment. Raises Stop, a line per wrong key.

    Without `sources` the names of exchanges, providers and platforms are not checked, and no module of theirs is imported.
    """
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
        settings = Settings(**(values | (overrides or {})))
        if sources:
            from ingest.config.source_names import check_sources  # noqa: PLC0415 - it imports exchanges and providers

            check_sources(settings)
        return settings
    except ValidationError as error:
        raise Stop("\n".join(_explain(problem) for problem in error.errors(include_url=False))) from error
    except SettingsError as error:
        raise Stop(f"environment {PREFIX}...: {error}: {error.__cause__}; a value of several parts is JSON there") from error


def _refuse_unknown_variables() -> None:
    """pydantic-settings reads only variables that it knows, so a misspelt section would be ignored silently."""
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
        if not isinstance(values, dict):  # not a section: the validation reports it
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
    """The keys of the section at `path`."""
    model: Any = Settings
    for part in path:
        is_dict = typing.get_origin(model) is dict
        model = typing.get_args(model)[1] if is_dict else model.model_fields[str(part)].annotation
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
