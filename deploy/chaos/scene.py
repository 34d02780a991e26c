"""The parts of one run: the exchange, the daemon, and the database behind proxies that can be cut.

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
from msgspec import Struct
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
TRADE_KIND = "aggTrade"  # its history has a sixth of the weight of `trade`, and the simulator enforces the exchange's limits
SYMBOLS = [spec.symbol for spec in INSTRUMENTS]
STREAMS = [f"{symbol.lower()}@{kind}" for symbol in SYMBOLS for kind in (TRADE_KIND, "kline_1m", "depth@100ms", "bookTicker")]
GRID_MS = 500  # of books and quotes
DATABASE_MEGABYTES, SPOOL_MEGABYTES = 160, 8
SUBSCRIBED_SECONDS = 100.0  # a refused subscription is retried after 60
LEDGER_SECONDS = 150.0  # a candle is claimed up to two minutes after the first minute has begun


class Beside(Struct, frozen=True):
    """A time in which bad elements were sent, in milliseconds, and the symbols that they were part of."""

    since_ms: int
    until_ms: int
    symbols: frozenset[str]


class Scene:
    """The parts on which faults act. A fault holds the lock `database` or `process`, so that faults of a part do not overlap."""

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
        self.beside: list[Beside] = []
        self.database = asyncio.Lock()
        self.process = asyncio.Lock()

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    def redirect(self) -> None:
        """After a failover: a single proxy connects to the new primary. Two proxies keep their servers, and the client chooses."""
        if len(self.lines) == 1:
            self.lines[0].redirect(self.servers.dsn)
        else:
            for line in self.lines:
                line.cut()

    async def subscribed(self) -> None:
        """Wait until the daemon is subscribed to every stream."""
        await until(lambda: all(map(self.simulator.has_subscriber, STREAMS)), SUBSCRIBED_SECONDS, "the daemon has subscribed")

    async def followed(self) -> None:
        """Wait until the ledger has every channel, because events before that need not be stored."""
        query = "SELECT 1 FROM coverage WHERE source = $1 GROUP BY instrument_id, channel"

        async def known() -> bool:
            return len(await self.fetch(query, EXCHANGE)) == len(STREAMS)

        await until(known, LEDGER_SECONDS, "the ledger has every channel")

    async def fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        """Query the run's database directly, without the proxies."""
        return await fetch(self.servers.dsn, query, *values)


@asynccontextmanager
async def open_scene(plan: Plan, folder: Path, servers: Servers) -> AsyncIterator[Scene]:
    """Starts all parts. No trade has happened yet."""
    async with AsyncExitStack() as stack:
        simulator = Simulator(specs=INSTRUMENTS, seed=plan.seed, trades_per_second=0)
        scene = Scene(plan, folder, servers, simulator)
        await _mount(scene, stack)
        await stack.enter_async_context(servers.market(None if scene.database_disk is None else scene.database_disk.path / "data"))
        await simulator.start()
        stack.push_async_callback(simulator.stop)
        targets = [servers.primary, servers.other] if plan.hosts and len(failovers(plan)) else [servers.primary]
        scene.lines = [await stack.enter_async_context(CutLine(target.dsn(MARKET))) for target in targets]
        if "pooler" in plan.kinds:
            scene.pooler = Pooler(scene.lines[0].dsn, folder)
            scene.pooler.start()
            stack.callback(scene.pooler.kill)
        _daemon(scene)
        stack.push_async_callback(scene.daemon.kill)
        await scene.daemon.start()
        await scene.subscribed()
        await scene.followed()
        yield scene


def failovers(plan: Plan) -> set[str]:
    return {kind for kind in plan.kinds if kind.startswith("failover")}


async def _mount(scene: Scene, stack: AsyncExitStack) -> None:
    owner = account()
    if "disk_full" in scene.plan.kinds:
        assert owner is not None, "only root can mount a disk"
        scene.database_disk = stack.enter_context(mounted(scene.folder / "disk", DATABASE_MEGABYTES, owner.pw_uid))
        data = scene.database_disk.path / "data"
        data.mkdir(mode=0o700)
        os.chown(data, owner.pw_uid, owner.pw_gid)
    if "spool_full" in scene.plan.kinds:
        scene.spool_disk = stack.enter_context(mounted(scene.spool, SPOOL_MEGABYTES))


def _daemon(scene: Scene) -> None:
    """Configure the daemon according to the plan."""
    plan, environment, command = scene.plan, _environment(scene), []
    if "clock_step" in plan.kinds:
        scene.clock.write_text("+0\n")
        environment |= {
            "LD_PRELOAD": str(faketime()),
            "FAKETIME_TIMESTAMP_FILE": str(scene.clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
    if "dns_gone" in plan.kinds:
        scene.names = Names(scene.folder)
        command = scene.names.command
    scene.daemon = Daemon(scene.folder, command, environment)


def faketime() -> Path | None:
    """The library that changes the clock of a process, if Debian's package libfaketime is installed."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


def _environment(scene: Scene) -> dict[str, str]:
    exchange = {
        "protocol": "binance",
        "instruments": [f"{spec.base}/{spec.quote}" for spec in INSTRUMENTS],
        "trade_kind": TRADE_KIND,
        "ws_url": scene.simulator.ws_url,
        "rest_url": scene.simulator.rest_url,
        "book": {"depth": 20, "interval": f"{GRID_MS} ms"},
        "quotes": {"interval": f"{GRID_MS} ms"},
    }
    direct = _dsn(scene)
    settings: dict[str, object] = {
        "name": WRITER,
        "database": {"dsn": scene.pooler.dsn if scene.pooler else direct, "admin_dsn": direct},
        "exchanges": {EXCHANGE: exchange},
        "queue": {"batch_rows": 500, "max_age": "100 ms"},
        "durability": scene.plan.durability,
        "heal": {"after": "10s", "interval": "1s"},  # histories are not complete for younger rows
        "shutdown_timeout": "5s",
    }
    if scene.plan.durability != "memory":
        settings["spool"] = {"path": str(scene.spool), "start_after": "300 ms"}
    return {f"INGEST__{name.upper()}": value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()}


def _dsn(scene: Scene) -> str:
    host = HOST if "dns_gone" in scene.plan.kinds else "127.0.0.1"
    hosts = [f"{host}:{line.port}" for line in scene.lines]
    if len(hosts) == 1:
        return f"postgresql://postgres@{hosts[0]}/{MARKET}"
    return f"postgresql://postgres@/{MARKET}?host={','.join(hosts)}&target_session_attrs=read-write"
