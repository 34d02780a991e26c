"""Errors by which the server may refuse a batch: the batch is kept, and written once the cause is gone.

https://www.postgresql.org/docs/current/errcodes-appendix.html. A trigger raises them, so that they come from the server itself.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from cluster import Cluster

from ingest.simulator.server import Simulator
from tests.support import stored
from tests.support.daemon import Daemon, configuration, demo, on_apache, subscribed, until
from tests.support.paths import ROOT

Daemons = Callable[..., Daemon]

RETRIED = ["40001", "40P01", "53100", "53200", "55P03", "57014", "25006", "08006"]
FAULT = """
    CREATE OR REPLACE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION USING ERRCODE = '{code}', MESSAGE = 'raised by the test';
    END $$;
    DROP TRIGGER IF EXISTS fault ON trades;
    CREATE TRIGGER fault BEFORE INSERT ON trades FOR EACH ROW EXECUTE FUNCTION fault()"""
REMOVE_FAULT = "DROP TRIGGER fault ON trades"


@on_apache
async def test_a_transient_error_is_retried(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(configuration(market, simulator)).start()
    await subscribed(simulator)
    for number, code in enumerate(RETRIED, start=1):
        await stored.execute(market, FAULT.format(code=code))
        simulator.trade("BTCUSDT", 100)
        await instance.until(lambda now, code=code: now.value("write_retries_total", sqlstate=code))
        await stored.execute(market, REMOVE_FAULT)
        scrape = await instance.settled("trades", 100 * number)
        assert scrape.rows("trades") | {"written": 100 * number, "rejected": 0} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)
    await instance.ready()


@on_apache
async def test_an_unknown_error_holds_the_table(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(configuration(market, simulator)).start()
    await subscribed(simulator)
    await stored.execute(market, FAULT.format(code="XX000"))
    simulator.trade("BTCUSDT", 100)
    assert "XX000: raised by the test" in await instance.unready("trades: held: writing 100 rows into trades")
    await stored.execute(market, REMOVE_FAULT)
    scrape = await instance.settled("trades", 100)
    assert scrape.rows("trades") | {"written": 100, "rejected": 0} == scrape.rows("trades")
    await stored.assert_all_trades(market, simulator)
    await instance.ready()


@on_apache
async def test_the_roles_of_least_privilege_suffice_and_a_lost_privilege_holds(
    edition: str, private_cluster: Callable[..., Cluster], simulator: Simulator, daemon: Daemons
):
    cluster = private_cluster(edition)
    market = cluster.dsn("market")
    create_roles(cluster)
    database = {name: market.replace("postgres@", f"{user}@") for name, user in ROLES.items()}
    section = demo(simulator, channels=["trades", "book", "quotes"])
    instance = await daemon(configuration(market, simulator, database=database, exchanges={"demo": section})).start()
    await subscribed(simulator)
    simulator.trade("BTCUSDT", 100)
    await instance.until(lambda now: all(now.rows(table)["written"] for table in ("trades", "order_books", "quotes")))
    await stored.execute(market, "REVOKE INSERT ON trades FROM ingest_writer")
    simulator.trade("BTCUSDT", 100)
    await instance.unready("permission denied for table trades")
    await stored.execute(market, "GRANT INSERT ON trades TO ingest_writer")
    scrape = await instance.settled("trades", 200)
    assert scrape.rows("trades") | {"written": 200, "rejected": 0} == scrape.rows("trades")
    simulator.send_raw(b"garbage")  # writing rejects and gaps needs privileges, too
    simulator.faults.lose("btcusdt@trade")
    simulator.trade("BTCUSDT", 2)
    await instance.until(lambda now: now.value("gaps_total", channel="trades"))
    ok = {"state": "ok", "detail": ""}
    all_ok = dict.fromkeys(("rollup", "sentiment", "indicators", "policies", "audit"), ok)

    async def maintenance_is_done() -> bool:
        return (await instance.status())["maintenance"] == all_ok

    await until(maintenance_is_done)
    assert await instance.terminate() == 0
    assert [(gap["channel"], gap["reason"]) for gap in await stored.gaps(market)] == [("trades", "sequence")]
    assert [row["payload"] for row in await stored.fetch(market, "SELECT payload FROM rejects")] == ["garbage"]
    sent = list(simulator.oracle.trades("BTCUSDT"))
    assert await stored.trades(market) == sent[:200] + sent[201:]


ROLES = {"dsn": "ingest_writer", "admin_dsn": "ingest_migrate"}


def create_roles(cluster: Cluster) -> None:
    """Run schema/roles.sql in psql, as an administrator does."""
    psql = [str(cluster.binaries / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", cluster.dsn("market")]
    roles = ROOT / "schema" / "roles.sql"
    subprocess.run([*psql, "-f", str(roles)], check=True, capture_output=True)
