"""The simulated exchange in its own process: `Exchange` is the handle, `python -m bench.exchange` the process.

They exchange lines of JSON, one request and one response at a time. The frames of a burst are encoded before it begins, so that the
exchange only writes while programs are measured. https://developers.binance.com/docs/binance-spot-api-docs
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from bench.stored import Checksum, checksum
from ingest.simulator.market import SPECS, UNIT, Spec
from ingest.simulator.server import Simulator

KIND = "aggTrade"
SUBSCRIBED_SECONDS = 30.0
ENDING_WITH_US = ("setpriv", "--pdeathsig", "TERM", "--")  # the process ends if this process is killed
Ranges = dict[str, tuple[int, int]]  # symbol -> first and last id


def specs(instruments: int) -> list[Spec]:
    """The simulator's instruments, then numbered coins, until there are `instruments`."""
    made = (Spec(f"C{number:03d}", "USDT", 100 * UNIT, UNIT // 100, 1_000, UNIT) for number in range(len(SPECS), instruments))
    return [*SPECS[:instruments], *made]


class Exchange:
    """The running exchange. It makes `trades_per_second` trades, distributed over all instruments."""

    def __init__(self, instruments: int, trades_per_second: float = 0.0) -> None:
        self.instruments = [f"{spec.base}/{spec.quote}" for spec in specs(instruments)]
        self.symbols = [spec.symbol for spec in specs(instruments)]
        self._command = [*ENDING_WITH_US, sys.executable, "-m", "bench.exchange", str(instruments), str(trades_per_second)]

    async def __aenter__(self) -> Exchange:
        pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
        self._process = await asyncio.create_subprocess_exec(*self._command, limit=1 << 20, **pipes)
        address = await self._response()
        self.ws_url, self.rest_url = address["ws_url"], address["rest_url"]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()

    async def subscribed(self) -> None:
        """Return when a client is subscribed to the trades of every instrument."""
        try:
            async with asyncio.timeout(SUBSCRIBED_SECONDS):
                await self._request("subscribed")
        except TimeoutError as error:
            raise RuntimeError(f"no client subscribed within {SUBSCRIBED_SECONDS:.0f} s; its output is above") from error

    async def prepare(self, rows: int) -> Ranges:
        """Make `rows` trades and encode their frames. Returns the ids by symbol."""
        return {symbol: tuple(ids) for symbol, ids in (await self._request("prepare", rows))["ranges"].items()}

    async def burst(self) -> float:
        """Send the prepared frames as fast as they are read. Returns the Unix time of the first frame in seconds."""
        began: float = (await self._request("burst"))["began"]
        return began

    async def checksum_of(self, ranges: Ranges) -> Checksum:
        """The checksum of those trades, in the form of `bench.stored.TRADE`."""
        return Checksum(**await self._request("checksum_of", ranges))

    async def _request(self, verb: str, *values: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([verb, *values]).encode() + b"\n")
        return await self._response()

    async def _response(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the simulated exchange ended with {await self._process.wait()}; its output is above")
        response: dict[str, Any] = json.loads(line)
        return response


# --- the process -----------------------------------------------------------------------------------------------------------


class Handler:
    """The requests that the process serves, one method for each."""

    def __init__(self, simulator: Simulator, symbols: list[str]) -> None:
        self._simulator = simulator
        self._symbols = symbols
        self._chunks: list[tuple[str, bytes]] = []

    async def subscribed(self) -> dict[str, Any]:
        while not all(self._simulator.has_subscriber(f"{symbol.lower()}@{KIND}") for symbol in self._symbols):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return {}

    async def prepare(self, rows: int) -> dict[str, Any]:
        by_symbol = {symbol: self._simulator.prepare(symbol, count, KIND) for symbol, count in self._shares(rows)}
        longest = max(map(len, by_symbol.values()))
        self._chunks = [(symbol, some[at]) for at in range(longest) for symbol, some in by_symbol.items() if at < len(some)]
        ranges = {}
        for symbol, count in self._shares(rows):
            last = max(trade.id for trade in self._simulator.oracle.trades(symbol))
            ranges[symbol] = (last - count + 1, last)
        return {"ranges": ranges}

    async def burst(self) -> dict[str, Any]:
        began = time.time()
        for symbol, chunk in self._chunks:
            await self._simulator.burst(symbol, [chunk], KIND)
        return {"began": began}

    async def checksum_of(self, ranges: Ranges) -> dict[str, Any]:
        found = checksum(self._rows(ranges))
        return {"rows": found.rows, "total": found.total}

    def _shares(self, rows: int) -> Iterator[tuple[str, int]]:
        for index, symbol in enumerate(self._symbols):
            yield symbol, rows // len(self._symbols) + (index < rows % len(self._symbols))

    def _rows(self, ranges: Ranges) -> Iterator[tuple[object, ...]]:
        for symbol, (first, last) in ranges.items():
            for trade in self._simulator.oracle.trades(symbol, first, last):
                yield symbol, trade.id, trade.time, trade.price, trade.size, trade.side


async def _serve(instruments: int, trades_per_second: float) -> None:
    """Serve requests until stdin ends."""
    simulator = Simulator(specs=specs(instruments), trades_per_second=trades_per_second)
    await simulator.start()
    handler = Handler(simulator, [spec.symbol for spec in specs(instruments)])
    _print({"ws_url": simulator.ws_url, "rest_url": simulator.rest_url})
    requests = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin)
    while line := await requests.readline():
        verb, *values = json.loads(line)
        _print(await getattr(handler, verb)(*values))
    await simulator.stop()


def _print(response: dict[str, Any]) -> None:
    print(json.dumps(response), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("instruments", type=int)
    parser.add_argument("trades_per_second", type=float)
    options = parser.parse_args()
    asyncio.run(_serve(options.instruments, options.trades_per_second))
