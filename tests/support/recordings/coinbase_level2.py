"""Coinbase's recorded `level2` messages as those of Advanced Trade, which test the module of the books.

https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels, "Level2 Channel"

Both feeds send the same snapshots and changed levels. Fields that the recorded messages do not have are added: numbers, from 2 on
because a session gets two acknowledgements before, and the time at which a message was sent, which is that of a change, and for a
snapshot that of its receipt.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import count

from tests.support.recordings.files import Line, received

SIDES = {"buy": "bid", "sell": "offer"}
KINDS = ("snapshot", "l2update")
NO_TIME = "1970-01-01T00:00:00Z"  # of every level of a snapshot, as in the example of the documentation


def frames(name: str) -> list[Line]:
    """The received frames of one recording; those of other channels are unchanged."""
    numbers = count(2)
    out = []
    for line in received(name):
        message = json.loads(line.text)
        books = message["type"] in KINDS
        out.append(line._replace(text=json.dumps(_envelope(line, message, next(numbers)))) if books else line)
    return out


def _envelope(line: Line, message: dict, number: int) -> dict:
    if message["type"] == "snapshot":
        sent = (datetime.fromtimestamp(0, UTC) + timedelta(microseconds=line.time)).isoformat().replace("+00:00", "Z")
        bids, asks = ([(side, *level) for level in message[name]] for side, name in (("buy", "bids"), ("sell", "asks")))
        return envelope(number, sent, event("snapshot", message["product_id"], NO_TIME, bids + asks))
    time = message["time"]
    return envelope(number, time, event("update", message["product_id"], time, message["changes"]))


def envelope(number: int, sent: str, *events: dict, channel: str = "l2_data") -> dict:
    """A message with these events."""
    return {"channel": channel, "client_id": "", "timestamp": sent, "sequence_num": number, "events": list(events)}


def event(kind: str, product: str, time: str, levels: list) -> dict:
    """Levels of one product; each is side (buy, sell), price and size."""
    rows = [{"side": SIDES[side], "event_time": time, "price_level": price, "new_quantity": size} for side, price, size in levels]
    return {"type": kind, "product_id": product, "updates": rows}


def acknowledgement(request: dict) -> dict:
    """The answer to the subscription of the heartbeats, which is message 0, or to that of books, message 1."""
    channel = request["channel"]
    accepted = {"subscriptions": {channel: request.get("product_ids", [channel])}}
    return envelope(int(channel == "level2"), NO_TIME, accepted, channel="subscriptions")
