"""Reads the configuration, from a TOML file and the environment, into frozen settings. Opens no other file except files of secrets.

Every key is also an environment variable, `INGEST__SECTION__KEY`, which takes precedence over the file; lists and tables are JSON
there. A secret can be read from a file: `INGEST__DATABASE__DSN_FILE`. Unknown keys are errors.
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
    """All settings."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=PREFIX, env_nested_delimiter="__", nested_model_default_partial_update=True
    )

    name: str = Field(
        default_factory=socket.gethostname,
        description=(
            "Name of this daemon, unique among the daemons of a database. It identifies the holder of leases, and is part of "
            "the key of rows without event time. By default the host name."
        ),
    )
    database: Database
    exchanges: dict[str, ExchangeSection] = {}
    pollers: dict[str, PollerSection] = {}
    platforms: dict[str, PlatformSection] = {}
    retention: dict[str, OptionalDuration] = _durations(
        {table.name: table.retention for table in TABLES},
        "By table: how long rows are kept. Older rows are dropped, and are not accepted. The defaults are in the list of tables. "
        "`bars_1m`, `bars_1h`, `daily_ohlcv` and `prices_daily` are allowed as well; they are kept forever by default.",
    )
    compress_after: dict[str, OptionalDuration] = _durations(
        {table.name: table.compress_after for table in TABLES},
        "By table: age at which chunks are compressed. The defaults are in the list of tables. Community edition only.",
    )
    queue: Queue = Queue()
    capture: Capture = Capture()
    durability: Literal["memory", "spool", "always"] | None = Field(
        default=None,
        description="Where rows wait until they are committed. By default `spool` if `spool.path` is set, else `memory`.",
    )
    spool: Spool = Spool()
    heal: Heal = Heal()
    indicators: Indicators = Indicators()
    server: Server = Server()
    log: Log = Log()
    shutdown_timeout: Duration = Field(
        default=timedelta(seconds=30),
        description="How long the daemon commits queued rows after SIGTERM. The remaining rows go to the spool, or are shed.",
    )
    migrate_on_start: bool = Field(
        default=False,
        description=(
            "Whether `ingest run` applies pending migrations. If not, the daemon is not ready until `ingest migrate` has run."
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
        # `..._FILE` names the file of a secret and is not a key; `load` has read the file
        env_settings.env_vars = {name: value for name, value in env_settings.env_vars.items() if not name.endswith("_file")}
        return env_settings, init_settings  # highest priority first; the values of the file are keyword arguments

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
    """Loads the settings from a file, if any, and from the environment. `overrides` replace sections of the file.

    Without `sources` the names of exchanges, providers and platforms are not checked, and their modules are not imported. Raises
    Stop with a line for each wrong key.
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
        raise Stop(f"environment {PREFIX}...: {error}: {error.__cause__}; lists and tables are JSON there") from error


def _refuse_unknown_variables() -> None:
    """pydantic-settings reads only known variables, so a misspelt section would be ignored silently."""
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
        if not isinstance(values, dict):  # not a section: validation reports it
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
