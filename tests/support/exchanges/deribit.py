"""Sessions of Deribit for the tests, and the frames of recordings and other projects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from ingest.exchanges.deribit import exchange as deribit
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.session import Output, Session, Subscription
from ingest.records import SECOND, Instrument
from tests.support.recordings.files import Line, read, received

OPTIONS = ExchangeOptions(ws_url="wss://test", rest_url="https://test", trade_kind="trade")
BTC = Instrument("deribit", "BTC-PERPETUAL", "BTC/USD:BTC", "BTC", "USD", "swap", "trading", "0.5", "10.0", id=3)
NOW = 1_790_000_000 * SECOND


def named(symbol: str, number: int) -> Instrument:
    return replace(BTC, symbol=symbol, instrument=symbol, id=number)


def open_session(*instruments: Instrument, channel: str, options: ExchangeOptions = OPTIONS) -> Session:
    (connection,) = deribit.connections([Subscription(instrument, channel) for instrument in instruments], options)
    session = deribit.session(connection, options)
    list(session.start(NOW))
    return session


def nautilus(name: str) -> bytes:
    return read(f"nautilus/deribit/{name}.json")


def plain(text: bytes | str) -> Any:
    """Decoded JSON whose fractional numbers are text, with the digits of the message."""
    return json.loads(text, parse_float=str)


def edited(name: str, **fields: Any) -> bytes:
    """The nautilus frame with other values of these fields."""
    message = json.loads(nautilus(name))
    message["params"]["data"].update(fields)
    return json.dumps(message).encode()


def today(line: Line) -> Line:
    """A recorded frame with today's name of its channel; `raw` now needs a key."""
    return line._replace(text=line.text.replace('.raw"', '.100ms"'))


def recorded(kind: str) -> Iterator[tuple[Line, dict[str, Any]]]:
    """The recorded messages of one kind of channel, with their data; digits are text."""
    for line in received("DERIBIT.ws.1.0"):
        message = plain(line.text)
        if message.get("params", {}).get("channel", "").startswith(f"{kind}."):
            yield today(line), message["params"]["data"]


def digits(text: str | int) -> str:
    """A number without an exponent, as a record has it: 1e-7 is 0.0000001."""
    return format(Decimal(text), "f")


def reasons(outputs: list[Output]) -> list[str]:
    return [getattr(output, "reason", type(output).__name__) for output in outputs]
