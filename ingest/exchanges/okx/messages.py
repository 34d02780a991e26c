"""The fields in use of OKX's websocket frames and REST responses.

https://www.okx.com/docs-v5/en/#public-data-rest-api-get-instruments

Errors have status 200 too; `code` is "0" only for success.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Raw, Struct

from ingest.marketdata.rest import Envelope
from ingest.protocol.decode import Bigint

BarRow = tuple[str, str, str, str, str, str, str, str, str]  # time, open, high, low, close, volume, of quote, of quote, confirmed


class Arg(Struct, frozen=True):
    channel: str = ""
    instId: str = ""  # noqa: N815, OKX's name


class Frame(Struct, frozen=True):
    arg: Arg = Arg()
    data: Raw = Raw()
    action: str = ""
    event: str = ""
    id: str = ""
    code: str = ""
    msg: str = ""


class TradeRow(Struct, frozen=True):
    tradeId: str  # noqa: N815
    px: str
    sz: str
    side: Literal["buy", "sell"]  # the taker's
    ts: str


class BookRow(Struct, frozen=True):
    bids: list[Any]  # price, size, an unused field, number of orders
    asks: list[Any]
    ts: str
    seqId: Bigint | None = None  # noqa: N815
    prevSeqId: Bigint | None = None  # noqa: N815
    checksum: int | None = None


class QuoteRow(Struct, frozen=True):
    """An empty side has empty strings."""

    bidPx: str  # noqa: N815
    bidSz: str  # noqa: N815
    askPx: str  # noqa: N815
    askSz: str  # noqa: N815
    ts: str


# unavailable, timeout, too many requests, busy, system error
ENVELOPE = Envelope("okx", good="0", retried={"50001", "50004", "50011", "50013", "50026", "50040"})


class Listed(Struct):
    instId: str  # noqa: N815
    baseCcy: str  # noqa: N815
    quoteCcy: str  # noqa: N815
    state: str
    tickSz: str  # noqa: N815, empty before the market opens
    lotSz: str  # noqa: N815
