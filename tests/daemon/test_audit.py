"""The audit finds rows that were damaged while the daemon was stopped; healing repairs what the exchange still has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import pytest

from ingest.simulator.server import Simulator
from tests.support import stored
from tests.support.daemon import Daemon, Settings, configuration, demo, on_apache, subscribed, until

Daemons = Callable[..., Daemon]
HEAL = {"after": "1s", "interval": "200 ms"}
SECONDS = 100.0  # the audit runs every 30 s, and gap filling that found nothing waits as long

_AUDITED = "SELECT reason, state, since, first_id, last_id, stored, verdict FROM coverage WHERE writer = 'audit' ORDER BY reason"
_MINUTES = """
    SELECT c.time, min(t.trade_id) AS first, max(t.trade_id) AS last FROM candles c
      JOIN trades t ON t.instrument_id = c.instrument_id AND t.time >= c.time AND t.time < c.time + interval '1 minute'
     WHERE c.interval = '1m' AND c.trades_count > 100 GROUP BY c.time, c.trades_count
    HAVING count(*) = c.trades_count ORDER BY c.time"""


@pytest.fixture
async def traded() -> AsyncIterator[Simulator]:
    """A simulated exchange with 15 minutes of history that trades no more."""
    simulator = Simulator(trades_per_second=16, history_seconds=900, ping_seconds=0.5)
    await simulator.start()
    simulator.trades_per_second = 0
    yield simulator
    await simulator.stop()


def settings(market: str, simulator: Simulator, **database: str) -> Settings:
    section = demo(simulator, channels=["trades", "candles"], history="12 minutes")
    return configuration(market, simulator, heal=HEAL, exchanges={"demo": section}, database={"dsn": market} | database)


async def healed_minutes(market: str) -> list[datetime]:
    """Minutes of which every trade and the candle are stored. Waits until the history of both is healed."""
    healed = "SELECT channel FROM coverage WHERE reason = 'history' AND channel IN ('trades', 'candles') AND state = 'healed'"

    async def whole_minutes() -> list[Any]:
        minutes = await stored.fetch(market, _MINUTES)
        return minutes if len(await stored.fetch(market, healed)) == 2 and len(minutes) > 6 else []

    return [row["time"] for row in await until(whole_minutes, SECONDS)]


async def change(market: str, query: str, *values: object) -> list[Any]:
    rows = await stored.fetch(market, query, *values)
    assert len(rows) == 1
    return list(rows[0])


@on_apache
async def test_damaged_rows_are_found_and_healed_or_reported_unrecoverable(market: str, traded: Simulator, daemon: Daemons) -> None:
    first = await daemon(settings(market, traded)).start()  # without admin_dsn there is no audit
    await subscribed(traded)
    minutes = await healed_minutes(market)
    assert (await first.status())["maintenance"]["audit"]["state"] == "disabled"
    assert await first.terminate() == 0
    before = await stored.trades(market)

    lost = "DELETE FROM trades WHERE trade_id = (SELECT min(trade_id) + 3 FROM trades WHERE time >= $1) RETURNING trade_id"
    altered = """UPDATE trades SET price = price * 2 WHERE trade_id = (SELECT min(trade_id) + 3 FROM trades WHERE time >= $1)
                 RETURNING trade_id, (price / 2)::text"""
    (lost_id,) = await change(market, lost, minutes[1])
    altered_id, _ = await change(market, altered, minutes[3])
    await change(market, "DELETE FROM candles WHERE interval = '1m' AND time = $1 RETURNING time", minutes[5])

    instance = await daemon(settings(market, traded, admin_dsn=market)).start()

    async def settled() -> dict[str, Any]:
        rows = {row["reason"]: row for row in await stored.fetch(market, _AUDITED)}
        states = {reason: row["state"] for reason, row in rows.items()}
        return rows if states == {"bars": "unrecoverable", "bucket": "healed", "ids": "healed"} else {}

    found = await until(settled, SECONDS)
    assert tuple(found["ids"])[3:6] == (lost_id, lost_id, 1)
    assert (found["bucket"]["since"], found["bars"]["since"]) == (minutes[5], minutes[3])
    assert found["bars"]["verdict"].startswith("healed, and still the candle is open ")
    after = [trade for trade in await stored.trades(market) if trade.id <= before[-1].id]
    assert [trade for trade in after if trade.id != altered_id] == [trade for trade in before if trade.id != altered_id]
    assert await stored.fetch(market, "SELECT 1 FROM candles WHERE interval = '1m' AND time = $1", minutes[5])
    scrape = await instance.scrape()
    findings = {reason: scrape.value("audit_findings_total", source="demo", reason=reason) for reason in found}
    assert findings == {"bars": 1, "bucket": 1, "ids": 1}
    assert scrape.value("audit_unresolved_total", source="demo", channel="trades", reason="bars") == 1
    assert (await instance.status())["maintenance"]["audit"]["state"] == "ok"
