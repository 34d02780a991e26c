"""What exchanges and pollers there are, by name: the files of their folders, and what other packages offer by entry point.

https://packaging.python.org/en/latest/specifications/entry-points/ (groups `ingest.exchanges`
and `ingest.pollers`). An exchange is a package whose module `exchange` is loaded; a file whose name starts with an underscore is a
part of another one.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import cast

import ingest.exchanges
import ingest.pollers
from ingest.errors import Stop
from ingest.polling.provider import Provider
from ingest.protocol.exchange import Exchange


@cache
def exchanges() -> dict[str, Exchange]:
    """Every exchange module by its NAME. Raises Stop where two have the same."""
    return cast(dict[str, Exchange], _modules(ingest.exchanges))


@cache
def pollers() -> dict[str, Provider]:
    """Every poller module by its NAME. Raises Stop where two have the same."""
    return cast(dict[str, Provider], _modules(ingest.pollers))


def _modules(package: ModuleType) -> dict[str, ModuleType]:
    group = package.__name__
    modules = [
        importlib.import_module(f"{group}.{found.name}{'.exchange' if found.ispkg else ''}")
        for found in pkgutil.iter_modules(package.__path__)
        if not found.name.startswith("_")
    ]
    modules += [_load(point) for point in entry_points(group=group)]
    known: dict[str, ModuleType] = {}
    for module in modules:
        if module.NAME in known:
            raise Stop(f"two modules are named '{module.NAME}' in the group {group}: {known[module.NAME]}, {module}")
        known[module.NAME] = module
    return known


def is_of_ccxt(name: str) -> bool:
    """Whether ccxt has it: then its past can be had, by `ingest backfill`, without a module here. ccxt itself is not imported."""
    found = importlib.util.find_spec("ccxt")
    folders = [] if found is None else [Path(folder, "async_support") for folder in found.submodule_search_locations or ()]
    return name.isidentifier() and any((folder / f"{name}.py").exists() for folder in folders)


def _load(point: EntryPoint) -> ModuleType:
    try:
        module: ModuleType = point.load()
    except (ImportError, AttributeError) as error:
        raise Stop(f"entry point '{point.name} = {point.value}' of the group {point.group}: {error}") from error
    if not hasattr(module, "NAME"):
        raise Stop(f"entry point '{point.name} = {point.value}' of the group {point.group}: no exchange, it has no NAME")
    return module
