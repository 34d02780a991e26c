"""What a reload of the configuration applies, and what needs a restart."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from ingest.config.sections import ExchangeSection
from ingest.config.settings import Settings

# what the daemon builds once at its start
RESTART = ("name", "database", "queue", "capture", "durability", "spool", "heal", "server", "log", "migrate_on_start")
EXCHANGE_RESTART = ("protocol", "ws_url", "rest_url", "archive_url", "proxy", "capture")


def reloaded(before: Settings, after: Settings) -> tuple[Settings, list[str]]:
    """The settings to use from now on: those of `after`, but those that need a restart as they are in `before`.

    Returns the names of the latter that differ as well, such as `queue.max_rows`.
    """
    changed = [name for key in RESTART for name in _differences(key, getattr(before, key), getattr(after, key))]
    exchanges = dict(after.exchanges)
    for name in before.exchanges.keys() & after.exchanges.keys():
        kept, section = _kept(before.exchanges[name]), after.exchanges[name]
        new = _kept(section)
        changed += [f"exchanges.{name}.{key}" for key in EXCHANGE_RESTART if kept[key] != new[key]]
        exchanges[name] = section.model_copy(update=kept)
    kept_sections = {key: getattr(before, key) for key in RESTART}
    return after.model_copy(update={"exchanges": exchanges, **kept_sections}), changed


def _kept(section: ExchangeSection) -> dict[str, object]:
    return {key: getattr(section, key) for key in EXCHANGE_RESTART}


def _differences(name: str, before: object, after: object) -> Iterator[str]:
    if before == after:
        return
    if isinstance(before, BaseModel):
        for key in type(before).model_fields:
            yield from _differences(f"{name}.{key}", getattr(before, key), getattr(after, key))
    else:
        yield name
