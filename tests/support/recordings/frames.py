"""The recorded frames of each exchange, its listing of that time and the answers that its books asked for.

From the recordings of cryptofeed; beside them single messages of today, from nautilus.
"""

from __future__ import annotations

import re

from msgspec.structs import replace

from ingest.protocol.exchange import Exchange, ExchangeOptions
from ingest.protocol.http import Response
from ingest.records import Instrument
from tests.support.paths import REAL
from tests.support.recordings import kraken_v1
from tests.support.recordings.files import Line, received, recording

RECORDINGS = {
    "binance": "BINANCE",
    "coinbase": "COINBASE",
    "deribit": "DERIBIT",
    "gate": "GATEIO",
    "kucoin": "KUCOIN",
    "okx": "OKX",
}
SNAPSHOT = {
    "binance": "symbol=",
    "gate": "currency_pair=",
    "kucoin": "symbol=",
}  # what stands before the symbol of a recorded answer
KINDS = {"binance": "aggTrade", "okx": "trades"}  # the kind of trades that is recorded, where it is not the usual one
TODAY = 1_790_000_000_000_000  # microseconds; when a message without a recorder's time was received
WORD = re.compile(r"[A-Za-z0-9]+(?:[-_/][A-Za-z0-9]+)*")


def frames(name: str) -> list[Line]:
    """The frames of one exchange."""
    paths = sorted((REAL / "nautilus" / name).glob("ws_*.json"))
    singles = [Line("received", TODAY, "", path.read_text()) for path in paths]
    if name == "kraken":
        return [*kraken_v1.frames("KRAKEN.ws.50.0"), *singles]
    lines = received(f"{RECORDINGS[name]}.ws.{'28' if name == 'coinbase' else '1'}.0")
    return [line._replace(text=line.text.replace('.raw"', '.100ms"')) for line in lines] + singles  # Deribit's `raw` needs a key


def snapshots(name: str) -> dict[str, str]:
    """The recorded answers that a book asks for, by symbol."""
    if name not in SNAPSHOT:
        return {}
    lines = [line for line in recording(f"{RECORDINGS[name]}.http.0.0") if SNAPSHOT[name] in line.url]
    return {line.url.partition(SNAPSHOT[name])[2].partition("&")[0]: line.text for line in lines}


def instruments(name: str, exchange: Exchange) -> list[Instrument]:
    """Those of the recorded listing that the frames name, with ids."""
    words = {word.upper() for line in frames(name) for word in WORD.findall(line.text)}
    return [replace(one, id=number) for number, one in enumerate(_listed(name, exchange), 1) if one.symbol in words]


def _listed(name: str, exchange: Exchange) -> list[Instrument]:
    if name == "kraken":
        return kraken_v1.listed()
    flow = exchange.listing(ExchangeOptions(ws_url="wss://test", rest_url="https://test", trade_kind=""))
    next(flow)
    try:
        flow.send(Response(200, next(line for line in recording(f"{RECORDINGS[name]}.0") if line.kind == "answer").frame))
    except StopIteration as done:
        return list(done.value)
    raise RuntimeError(f"{name}: the listing is of several answers")
