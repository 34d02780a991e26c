"""The exchange and poller modules by name: those in their folders, and those that other packages offer as entry points.

https://packaging.python.org/en/latest/specifications/entry-points/ (groups `ingest.exchanges` and `ingest.pollers`). An exchange is
a package whose module `exchange` is loaded. A file whose name starts with an underscore is a part of other modules. A module
is imported at first use, so that a command imports only those that the configuration names.
"""

from __future__ import annotations

import importlib.util
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import ingest.exchanges
import ingest.pollers
from ingest.errors import Stop
from ingest.polling.provider import Provider
from ingest.protocol.exchange import Exchange

M = TypeVar("M")


class Modules(Mapping[str, M]):
    """The modules of a package and of its entry point group, by name. A lookup raises Stop if the import fails."""

    def __init__(self, package: ModuleType) -> None:
        group = package.__name__
        found = [file for file in pkgutil.iter_modules(package.__path__) if not file.name.startswith("_")]
        files = [EntryPoint(file.name, f"{group}.{file.name}{'.exchange' if file.ispkg else ''}", group) for file in found]
        self._points: dict[str, EntryPoint] = {}
        self._loaded: dict[str, M] = {}
        for point in (*files, *entry_points(group=group)):
            if (known := self._points.get(point.name)) is not None:
                raise Stop(f"two modules are named '{point.name}' in the group {group}: {known.value}, {point.value}")
            self._points[point.name] = point

    def __getitem__(self, name: str) -> M:
        if name not in self._loaded:
            self._loaded[name] = _load(self._points[name])
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._points

    def __iter__(self) -> Iterator[str]:
        return iter(self._points)

    def __len__(self) -> int:
        return len(self._points)


@cache
def exchanges() -> Mapping[str, Exchange]:
    """Every exchange module by its NAME. Raises Stop where two modules have the same name."""
    return Modules(ingest.exchanges)


@cache
def pollers() -> Mapping[str, Provider]:
    """Every poller module by its NAME. Raises Stop where two modules have the same name."""
    return Modules(ingest.pollers)


def is_of_ccxt(name: str) -> bool:
    """Whether ccxt is installed and supports the exchange, so that `ingest backfill` needs no module here. Does not import ccxt."""
    found = importlib.util.find_spec("ccxt")
    folders = [] if found is None else [Path(folder, "async_support") for folder in found.submodule_search_locations or ()]
    return name.isidentifier() and any((folder / f"{name}.py").exists() for folder in folders)


def _load(point: EntryPoint) -> Any:
    what = f"entry point '{point.name} = {point.value}' of the group {point.group}"
    try:
        module = point.load()
    except (ImportError, AttributeError) as error:
        raise Stop(f"{what}: {error}") from error
    if (name := getattr(module, "NAME", None)) != point.name:
        raise Stop(f"{what}: its NAME is {name!r}; right would be '{point.name}'")
    return module
