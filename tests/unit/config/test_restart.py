"""What a reload applies, and which changed settings it names because they need a restart."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ingest.config.restart import RESTART, reloaded
from ingest.config.settings import Settings

DATABASE = {"dsn": "postgresql://a:geheim@localhost/market"}


def settings(**changes: Any) -> Settings:
    demo = {"protocol": "binance", "instruments": ("BTC/USDT",)} | changes.pop("demo", {})
    return Settings(**({"name": "one", "database": DATABASE, "exchanges": {"demo": demo}} | changes))


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"name": "two"}, ["name"]),
        ({"queue": {"max_rows": 7, "batch_rows": 5}}, ["queue.batch_rows", "queue.max_rows"]),
        ({"database": {"dsn": "postgresql://b:secret@localhost/other"}}, ["database.dsn"]),
        ({"spool": {"path": "/var/lib/spool"}}, ["spool.path"]),
        ({"heal": {"enabled": False}}, ["heal.enabled"]),
        ({"server": {"port": 1}}, ["server.port"]),
        ({"log": {"level": "debug"}}, ["log.level"]),
        (
            {"demo": {"proxy": "socks5://user:secret@host:1080", "capture": True}},
            ["exchanges.demo.proxy", "exchanges.demo.capture"],
        ),
        ({"demo": {"ws_url": "ws://localhost"}}, ["exchanges.demo.ws_url"]),
    ],
)
def test_a_setting_that_needs_a_restart_is_named_and_stays(changes: dict[str, Any], names: list[str]) -> None:
    before = settings()
    assert reloaded(before, settings(**changes)) == (before, names)
    assert reloaded(before, settings()) == (before, [])


def test_what_a_reload_applies_is_not_named() -> None:
    changes: dict[str, Any] = {
        "exchanges": {"other": {"protocol": "kraken", "instruments": ("BTC/USD",), "capture": True}},
        "pollers": {"cboe": {}},
        "retention": {"trades": "1 day"},
        "shutdown_timeout": "1s",
    }
    after, names = reloaded(settings(), settings(**changes))
    assert names == []
    assert after == settings(**changes)
    assert after.retention["trades"] == timedelta(days=1)


def test_an_exchange_is_changed_without_what_needs_a_restart() -> None:
    after, names = reloaded(settings(), settings(demo={"instruments": ("ETH/USDT",), "rest_url": "http://localhost"}))
    assert names == ["exchanges.demo.rest_url"]
    assert after == settings(demo={"instruments": ("ETH/USDT",)})
    assert reloaded(after, settings(demo={"rest_url": "http://localhost"}))[1] == names  # until it is restarted


def test_every_section_is_applied_or_needs_a_restart() -> None:
    """A new section of the settings must be in one of the two lists."""
    applied = {"exchanges", "pollers", "platforms", "retention", "compress_after", "indicators", "shutdown_timeout"}
    assert applied | set(RESTART) == set(Settings.model_fields)
    assert not applied & set(RESTART)
