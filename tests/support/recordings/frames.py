"""The recorded frames of each exchange, its instruments at that time, and the book snapshots that the recorder requested.

The recordings are those of cryptofeed; single messages of today's protocols are those of nautilus.
"""

from __future__ import annotations

import re

from msgspec import Struct
from msgspec.structs import replace

from ingest.protocol.exchange import Exchange, ExchangeOptions
from ingest.protocol.http import Response
from ingest.records import Instrument
from tests.support.paths import REAL
from tests.support.recordings import coinbase_level2, kraken_v1
from tests.support.recordings.files import Line, received, recording


class Recorded(Struct, frozen=True):
    """The recording of an exchange, and how it differs from today's protocol."""

    name: str  # the exchange in the names of cryptofeed's files
    connection: str = "1"  # number of the recorded websocket
    snapshot: str = ""  # the text before the symbol in the URL of a book's snapshot; empty where REST has no snapshot
    trade_kind: str = ""  # the recorded trade kind, where it is not the exchange's default
    renamed: tuple[tuple[str, str], ...] = ()  # (text of the recording, text of today's protocol)


# One row for each exchange; two recordings are of earlier protocols and are translated
RECORDED = {
    "binance": Recorded("BINANCE", snapshot="symbol=", trade_kind="aggTrade"),
    "coinbase": Recorded("COINBASE", connection="28"),
    "deribit": Recorded("DERIBIT", renamed=(('.raw"', '.100ms"'),)),  # `raw` needs a key
    "gate": Recorded("GATEIO", snapshot="currency_pair="),
    "kraken": Recorded("KRAKEN", connection="50"),
    "kucoin": Recorded("KUCOIN", snapshot="symbol="),
    "okx": Recorded("OKX", trade_kind="trades"),
}
TODAY = 1_790_000_000_000_000  # microseconds; the receive time of a message that has no recorded one
TRANSLATED = {"coinbase": coinbase_level2.frames, "kraken": kraken_v1.frames}
WORD = re.compile(r"[A-Za-z0-9]+(?:[-_/][A-Za-z0-9]+)*")


def frames(name: str) -> list[Line]:
    """The recorded frames of one exchange, then the single messages."""
    recorded = RECORDED[name]
    file = f"{recorded.name}.ws.{recorded.connection}.0"
    lines = TRANSLATED.get(name, received)(file)
    for old, new in recorded.renamed:
        lines = [line._replace(text=line.text.replace(old, new)) for line in lines]
    singles = [Line("received", TODAY, "", path.read_text()) for path in sorted((REAL / "nautilus" / name).glob("ws_*.json"))]
    return [*lines, *singles]


def snapshots(name: str) -> dict[str, str]:
    """The recorded REST snapshots of books, by symbol."""
    recorded = RECORDED[name]
    if not recorded.snapshot:
        return {}
    lines = [line for line in recording(f"{recorded.name}.http.0.0") if recorded.snapshot in line.url]
    return {line.url.partition(recorded.snapshot)[2].partition("&")[0]: line.text for line in lines}


def instruments(name: str, exchange: Exchange) -> list[Instrument]:
    """The instruments of the recorded listing whose symbols are in the frames, with ids."""
    words = {word.upper() for line in frames(name) for word in WORD.findall(line.text)}
    words |= {part for word in words for part in word.split("_")}  # a topic like `live_trades_btcusd`
    return [replace(one, id=number) for number, one in enumerate(_listed(name, exchange), 1) if one.symbol.upper() in words]


def _listed(name: str, exchange: Exchange) -> list[Instrument]:
    if name == "kraken":
        return kraken_v1.listed()
    flow = exchange.listing(ExchangeOptions(ws_url="wss://test", rest_url="https://test", trade_kind=""))
    next(flow)
    try:
        flow.send(Response(200, next(line for line in recording(f"{RECORDED[name].name}.0") if line.kind == "answer").frame))
    except StopIteration as done:
        return list(done.value)
    raise RuntimeError(f"{name}: the listing needs more than one request; only the first answer is recorded")
