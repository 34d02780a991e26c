"""The parts of one run: the exchange, the database behind proxies that can be cut, and the daemon between them.

exchange -> daemon -> [pooler] -> proxy -> server
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
from cluster import account
from line import CutLine
from pooler import Pooler

from chaos.daemon import Daemon
from chaos.disk import Disk, mounted
from chaos.names import HOST, Names
from chaos.plan import Plan
from chaos.servers import MARKET, Servers, fetch
from chaos.waiting import until
from ingest.simulator.market import SPECS
from ingest.simulator.server import Simulator

EXCHANGE = "demo"
WRITER = "chaos"
INSTRUMENTS = SPECS[:3]
TRADE_KIND = "aggTrade"  # its history costs a sixth of the weight of `trade`, and the exchange's limits apply here, too
SYMBOLS = [spec.symbol for spec in INSTRUMENTS]
STREAMS = [f"{symbol.lower()}@{kind}" for symbol in SYMBOLS for kind in (TRADE_KIND, "kline_1m", "depth@100ms", "bookTicker")]
GRID_MS = 500  # of books and quotes
DATABASE_MEGABYTES, SPOOL_MEGABYTES = 160, 8
SUBSCRIBED_SECONDS = 40.0
LEDGER_SECONDS = 150.0  # a candle is claimed up to two minutes after the first minute has begun


class Scene:
    """What the faults act on. A fault locks `database` or `process` while it breaks that part, so that faults do not overlap."""

    def __init__(self, plan: Plan, folder: Path, servers: Servers, simulator: Simulator) -> None:
        self.plan = plan
        self.folder = folder
        self.servers = servers
        self.simulator = simulator
        self.lines: list[CutLine] = []
        self.daemon: Daemon
        self.pooler: Pooler | None = None
        self.names: Names | None = None
        self.database_disk: Disk | None = None
        self.spool_disk: Disk | None = None
        self.clock = folder / "clock"  # the offset that libfaketime adds to the daemon's time
        self.dropped: set[tuple[str, int]] = set()  # the (symbol, trade id) that a fault removed from the table
        self.database = asyncio.Lock()
        self.process = asyncio.Lock()

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    def redirect(self) -> None:
        """Lead a single proxy to the primary. Two proxies keep their servers, and the client chooses."""
        if len(self.lines) == 1:
            self.lines[0].redirect(self.servers.dsn)
        else:
            for line in self.lines:
                line.cut()

    async def subscribed(self) -> None:
        """Wait until the daemon is subscribed to every stream."""
        await until(lambda: all(map(self.simulator.has_subscriber, STREAMS)), SUBSCRIBED_SECONDS, "the daemon has subscribed")

    async def followed(self) -> None:
        """Wait until the ledger has every channel: earlier events need not be stored."""
        query = "SELECT 1 FROM coverage WHERE source = $1 GROUP BY instrument_id, channel"

        async def known() -> bool:
            return len(await self.fetch(query, EXCHANGE)) == len(STREAMS)

        await until(known, LEDGER_SECONDS, "the ledger has every channel")

    async def fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        """Query the run's database, not through the proxies."""
        return await fetch(self.servers.dsn, query, *values)


@asynccontextmanager
async def scene(plan: Plan, folder: Path, servers: Servers) -> AsyncIterator[Scene]:
    """Start everything; no trade has happened yet."""
    async with AsyncExitStack() as stack:
        simulator = Simulator(specs=INSTRUMENTS, seed=plan.seed, trades_per_second=0)
        one = Scene(plan, folder, servers, simulator)
        await _mount(one, stack)
        await stack.enter_async_context(servers.market(None if one.database_disk is None else one.database_disk.path / "data"))
        await simulator.start()
        stack.push_async_callback(simulator.stop)
        targets = [servers.primary, servers.other] if plan.hosts and len(failovers(plan)) else [servers.primary]
        one.lines = [await stack.enter_async_context(CutLine(target.dsn(MARKET))) for target in targets]
        if "pooler" in plan.kinds:
            one.pooler = Pooler(one.lines[0].dsn, folder)
            one.pooler.start()
            stack.callback(one.pooler.kill)
        _daemon(one)
        stack.push_async_callback(one.daemon.kill)
        await one.daemon.start()
        await one.subscribed()
        await one.followed()
        yield one


def failovers(plan: Plan) -> set[str]:
    return {kind for kind in plan.kinds if kind.startswith("failover")}


async def _mount(one: Scene, stack: AsyncExitStack) -> None:
    owner = account()
    if "disk_full" in one.plan.kinds:
        assert owner is not None, "only root can mount a disk"
        one.database_disk = stack.enter_context(mounted(one.folder / "disk", DATABASE_MEGABYTES, owner.pw_uid))
        data = one.database_disk.path / "data"
        data.mkdir(mode=0o700)
        os.chown(data, owner.pw_uid, owner.pw_gid)
    if "spool_full" in one.plan.kinds:
        one.spool_disk = stack.enter_context(mounted(one.spool, SPOOL_MEGABYTES))


def _daemon(one: Scene) -> None:
    """The daemon as this plan configures it."""
    plan, environment, command = one.plan, _environment(one), []
    if "clock_step" in plan.kinds:
        one.clock.write_text("+0\n")
        environment |= {
            "LD_PRELOAD": str(faketime()),
            "FAKETIME_TIMESTAMP_FILE": str(one.clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
    if "dns_gone" in plan.kinds:
        one.names = Names(one.folder)
        command = one.names.command
    one.daemon = Daemon(one.folder, command, environment)


def faketime() -> Path | None:
    """The library that changes the clock of a process, if Debian's package libfaketime is installed."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


def _environment(one: Scene) -> dict[str, str]:
    exchange = {
        "protocol": "binance",
        "instruments": [f"{spec.base}/{spec.quote}" for spec in INSTRUMENTS],
        "trade_kind": TRADE_KIND,
        "ws_url": one.simulator.ws_url,
        "rest_url": one.simulator.rest_url,
        "book": {"depth": 20, "interval": f"{GRID_MS} ms"},
        "quotes": {"interval": f"{GRID_MS} ms"},
    }
    direct = _dsn(one)
    settings: dict[str, object] = {
        "name": WRITER,
        "database": {"dsn": one.pooler.dsn if one.pooler else direct, "admin_dsn": direct},
        "exchanges": {EXCHANGE: exchange},
        "queue": {"batch_rows": 500, "max_age": "100 ms"},
        "durability": one.plan.durability,
        "heal": {"after": "10s", "interval": "1s"},  # histories are not complete for younger rows
        "shutdown_timeout": "5s",
    }
    if one.plan.durability != "memory":
        settings["spool"] = {"path": str(one.spool), "start_after": "300 ms"}
    return {f"INGEST__{name.upper()}": value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()}


def _dsn(one: Scene) -> str:
    host = HOST if "dns_gone" in one.plan.kinds else "127.0.0.1"
    hosts = [f"{host}:{line.port}" for line in one.lines]
    if len(hosts) == 1:
        return f"postgresql://postgres@{hosts[0]}/{MARKET}"
    return f"postgresql://postgres@/{MARKET}?host={','.join(hosts)}&target_session_attrs=read-write"
