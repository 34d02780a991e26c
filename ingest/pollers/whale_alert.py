"""Whale Alert: large transfers on many chains, with the owners that it knows. https://developer.whale-alert.io/api-account/documentation

With the plan `alerts` it tells by websocket; with `v1`, an API that is no longer sold, it is asked: https://docs.whale-alert.io/.
Both tell a transaction's amount of a token as one, so that it is the transfer of index 0. The rule one would get wrong: hashes and
addresses come with and without 0x, and a key is one with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from urllib.parse import quote, urlencode

from msgspec import Struct, field
from msgspec.json import Decoder, encode

from ingest.errors import Reject, Retry
from ingest.pollers._whale_transfers import CENT, EXACT, level_of
from ingest.polling.provider import Plan, Poll, PollOptions, decoded
from ingest.protocol.decode import UNREADABLE, Malformed, malformed
from ingest.protocol.exchange import ExchangeLimits, Rate
from ingest.protocol.http import Request, Response, answer_to
from ingest.protocol.session import Connection, Output, Reconnect, Refused, Send
from ingest.records import SECOND, WhaleTransaction

NAME = "whale_alert"
TABLES = ("whale_transactions",)
_TERMS = "https://developer.whale-alert.io/: for personal use only"
PLANS = {
    "alerts": Plan(
        base_url="https://leviathan.whale-alert.io",
        key="api_key",
        key_in="query",
        per_minute=6,
        interval=60,
        requests=1,
        terms=_TERMS,
        default_on=False,
    ),
    "v1": Plan(
        base_url="https://api.whale-alert.io/v1",
        key="api_key",
        key_in="query",
        per_minute=10,
        interval=60,
        requests=5,
        terms=_TERMS,
        default_on=False,
    ),
}
ASSETS: dict[str, str] = {}
STREAMED = ("alerts",)
LIMITS = ExchangeLimits(
    ws_url="",
    rest_url="",
    alternative=f"pollers.{NAME}.base_url",
    sends=Rate(1, 1.0),
    connects=Rate(2, 60.0),
    weight=Rate(1, 1.0),
    subscriptions_per_connection=1,
    silence_seconds=600.0,  # it pings nobody, and between large alerts is silence: to connect anew then costs nothing
)
TYPES = ("transfer", "mint", "burn")
LEAST_ALERT, LEAST_V1 = 100_000, 500_000  # USD: what either takes as its threshold
PAGE, PAGES = 100, 4  # transactions of a v1 answer, and answers of a turn
REACH = 3300 * SECOND  # so far back v1 goes without a paid plan, and a little less
UNKNOWN = ("", "unknown wallet", "unknown")
EVM = {"ethereum"}  # of these chains we write hashes and addresses with 0x, as we derive them


class _Amount(Struct):
    symbol: str
    amount: Decimal
    value_usd: Decimal


class _Party(Struct):
    address: str = ""
    owner: str = ""
    amount: Decimal = Decimal(0)


class _Part(Struct):
    symbol: str
    inputs: list[_Party] = []
    outputs: list[_Party] = []


class _Whole(Struct):
    hash: str
    height: int | None = None
    sub_transactions: list[_Part] = []


class _Alert(Struct, rename={"sender": "from", "recipient": "to"}):
    """Any frame: an alert where it has `amounts`, else an answer to us."""

    amounts: list[_Amount] = []
    blockchain: str = ""
    timestamp: int = 0  # seconds
    sender: str = ""  # the owner's name
    recipient: str = ""
    transaction: _Whole | None = None
    error: str = ""


class _Transfer(Struct):
    blockchain: str
    symbol: str
    hash: str
    timestamp: int  # seconds
    amount: Decimal
    amount_usd: Decimal
    sender: _Party = field(name="from")
    recipient: _Party = field(name="to")


class _Page(Struct):
    result: str
    message: str = ""
    cursor: str = ""
    transactions: list[_Transfer] = []


_Alerts, _Pages = Decoder(_Alert), Decoder(_Page)


# --- by websocket -----------------------------------------------------------------------------------------------------


def connection(options: PollOptions) -> Connection:
    """See `Streaming`."""
    scheme, _, rest = options.base_url.partition("://")
    return Connection(f"{'ws' if scheme == 'http' else 'wss'}://{rest}/ws?api_key={quote(options.secret['api_key'], safe='')}", ())


def session(options: PollOptions) -> _Session:
    """See `Streaming`."""
    return _Session(options)


class _Session:
    """One connection: one subscription of all that is large enough, answered by alerts."""

    def __init__(self, options: PollOptions) -> None:
        self.last_message_at: list[int] = []
        self.refused: dict[int, str] = {}
        self._options = options

    def start(self, _now: int) -> Iterable[Output]:
        least = max(self._options.min_usd, LEAST_ALERT)
        yield Send(encode({"type": "subscribe_alerts", "id": "ingest", "tx_types": TYPES, "min_value_usd": least}).decode())

    def feed(self, frame: bytes, received_at: int) -> Sequence[Output]:
        try:
            alert = _Alerts.decode(frame)
        except UNREADABLE as error:
            return [malformed(frame, error)]
        if alert.error:
            return [Refused(alert.error), Reconnect("refused")]
        if not alert.amounts:
            return []
        if alert.transaction is None or not alert.blockchain or not alert.timestamp:
            return [Malformed(frame, "shape", "an alert without its chain, time or transaction")]
        return list(_told(alert, alert.transaction, self._options, received_at))

    def answer(self, request: Request, response: Response, now: int) -> Sequence[Output]:
        raise AssertionError(f"{request.url} was asked by nobody ({response.status}, {now})")

    def failed(self, request: Request, now: int) -> Sequence[Output]:
        return self.answer(request, Response(0, b""), now)

    def tick(self, _now: int) -> Sequence[Output]:
        return ()


def _told(alert: _Alert, whole: _Whole, options: PollOptions, received_at: int) -> Iterator[WhaleTransaction]:
    for one in alert.amounts:
        if one.value_usd < options.min_usd:
            continue
        parts = [part for part in whole.sub_transactions if part.symbol.upper() == one.symbol.upper()]
        sender = _Party(_largest(party for part in parts for party in part.inputs), alert.sender)
        recipient = _Party(_largest(party for part in parts for party in part.outputs), alert.recipient)
        transfer = _Transfer(
            alert.blockchain, one.symbol, whole.hash, alert.timestamp, one.amount, one.value_usd, sender, recipient
        )
        yield _record(transfer, whole.height, options, received_at)


def _largest(parties: Iterable[_Party]) -> str:
    return max(parties, key=lambda one: one.amount, default=_Party()).address


# --- in turns ---------------------------------------------------------------------------------------------------------


def poll(options: PollOptions, cursor: str) -> Poll:
    """What came since the last turn, at most an hour ago. The cursor is the time to begin at and, from there on, v1's own."""
    now = (yield from answer_to(Request(f"{options.base_url}/status", secret=options.secret))).as_of
    since, _, place = cursor.partition(" ")
    reach = (now - REACH) // SECOND
    if int(since or 0) < reach:
        since, place = str(reach), ""
    told: list[WhaleTransaction] = []
    for _ in range(PAGES):
        query = {"start": since, "min_value": str(max(options.min_usd, LEAST_V1)), "limit": str(PAGE)} | (
            {"cursor": place} if place else {}
        )
        answer = yield from answer_to(Request(f"{options.base_url}/transactions?{urlencode(query)}", secret=options.secret))
        page = decoded(answer, _Pages)
        if page.result != "success":
            raise _refusal(page.message)
        told += [_record(one, None, options, answer.received_at) for one in page.transactions if one.amount_usd >= options.min_usd]
        place = page.cursor or place
        if len(page.transactions) < PAGE:
            since = str(max([int(since), *(one.timestamp for one in page.transactions)]))
            break
    yield told
    return f"{since} {place}"


def _refusal(message: str) -> Retry | Reject:
    """An error in an answer of status 200: a wrong key waits for a person, all else for better times."""
    if "api_key" in message or "api key" in message.lower():
        return Reject(f"v1: {message}", reason="http", code="401")
    return Retry(f"v1: {message}")


# --- a transfer -------------------------------------------------------------------------------------------------------


def _record(one: _Transfer, height: int | None, options: PollOptions, received_at: int) -> WhaleTransaction:
    sender, recipient = (_written(one.blockchain, party.address) for party in (one.sender, one.recipient))
    return WhaleTransaction(
        blockchain=one.blockchain,
        hash=_written(one.blockchain, one.hash),
        token=one.symbol.upper(),
        index=0,
        time=one.timestamp * SECOND,
        from_address=sender,
        from_label=options.labels.get(sender) or _owner(one.sender),
        to_address=recipient,
        to_label=options.labels.get(recipient) or _owner(one.recipient),
        amount_token=f"{one.amount:f}",
        amount_usd=f"{one.amount_usd.quantize(CENT, context=EXACT):f}",
        alert_level=level_of(one.amount_usd),
        block_height=height,
        block_hash=None,
        source=NAME,
        received_at=received_at,
    )


def _owner(party: _Party) -> str | None:
    return None if party.owner.lower() in UNKNOWN else party.owner


def _written(blockchain: str, text: str) -> str:
    """A hash or an address, as we write it on that chain."""
    if blockchain not in EVM or not text:
        return text
    return text.lower() if text[:2].lower() == "0x" else f"0x{text.lower()}"
