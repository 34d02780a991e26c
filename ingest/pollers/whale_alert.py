"""Whale Alert: large transfers on many chains, with known owners. https://developer.whale-alert.io/api-account/documentation

The plan `alerts` is a websocket; the plan `v1` is a REST API that is no longer sold: https://docs.whale-alert.io/. Both report the
total amount of a token in a transaction, which is stored as the transfer of index 0. Hashes and addresses of Ethereum are sent with
or without 0x, and are stored with it, so that a transfer has one key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from urllib.parse import quote, urlencode

from msgspec import Raw, Struct, field
from msgspec.json import Decoder, encode
from msgspec.structs import replace

from ingest.errors import Reject, Retry
from ingest.pollers._whale_transfers import CENT, EXACT, checked_row, level_of
from ingest.polling import checked
from ingest.polling.elements import elements, readable
from ingest.polling.provider import Plan, Poll, PollOptions, decoded
from ingest.protocol.decode import UNREADABLE, Malformed, malformed
from ingest.protocol.exchange import ExchangeLimits, Rate
from ingest.protocol.http import Request, Response, answer_to
from ingest.protocol.session import Connection, Output, Reconnect, Refused, Send
from ingest.records import SECOND, WhaleTransaction

NAME = "whale_alert"
TABLES = ("whale_transactions",)
_ALERTS = Plan(
    base_url="https://leviathan.whale-alert.io",
    key="api_key",
    key_in="query",
    per_minute=6,
    interval=60,
    requests=1,
    terms="https://developer.whale-alert.io/: for personal use only",
    default_on=False,
)
PLANS = {
    "alerts": _ALERTS,
    "v1": replace(_ALERTS, base_url="https://api.whale-alert.io/v1", per_minute=10, requests=5),
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
    silence_seconds=600.0,  # it sends no pings, and long pauses between large alerts are normal; a new connection costs nothing
)
TYPES = ("transfer", "mint", "burn")
MIN_ALERT_USD, MIN_V1_USD = 100_000, 500_000  # the lowest thresholds that the APIs accept
PAGE, PAGES = 100, 4  # transactions in an answer of v1; answers in a turn
MAX_AGE = 3300 * SECOND  # v1 goes back one hour without a paid plan; this leaves a margin
UNKNOWN = ("", "unknown wallet", "unknown")
EVM = {"ethereum"}  # chains whose hashes and addresses are stored with 0x, as by `whale_ethereum`


class _Amount(Struct):
    symbol: str
    amount: Decimal
    value_usd: Decimal


class _Party(Struct):
    address: str = ""
    owner: str = ""
    amount: Decimal = Decimal(0)


class _SubTransaction(Struct):
    symbol: str
    inputs: list[Raw] = []
    outputs: list[Raw] = []


class _FullTransaction(Struct):
    hash: str
    height: int | None = None
    sub_transactions: list[Raw] = []


class _Alert(Struct, rename={"sender": "from", "recipient": "to"}):
    """Any frame: an alert if it has `amounts`, else a response to the subscription."""

    amounts: list[Raw] = []
    blockchain: str = ""
    timestamp: int = 0  # seconds
    sender: str = ""  # the owner's name
    recipient: str = ""
    transaction: _FullTransaction | None = None
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
    transactions: list[Raw] = []


_Alerts, _Pages, _TRANSFER = Decoder(_Alert), Decoder(_Page), Decoder(_Transfer)
_AMOUNT, _PART, _PARTY = Decoder(_Amount), Decoder(_SubTransaction), Decoder(_Party)


# --- by websocket -----------------------------------------------------------------------------------------------------


def connection(options: PollOptions) -> Connection:
    """See `Streaming`."""
    scheme, _, rest = options.base_url.partition("://")
    return Connection(f"{'ws' if scheme == 'http' else 'wss'}://{rest}/ws?api_key={quote(options.secret['api_key'], safe='')}", ())


def session(options: PollOptions) -> _Session:
    """See `Streaming`."""
    return _Session(options)


class _Session:
    """One connection with a subscription to all alerts above the threshold."""

    heeded_at = 0  # no notice is known here

    def __init__(self, options: PollOptions) -> None:
        self.last_message_at: list[int] = []
        self.refused: dict[int, str] = {}
        self._options = options

    def start(self, _now: int) -> Iterable[Output]:
        min_usd = max(self._options.min_usd, MIN_ALERT_USD)
        yield Send(encode({"type": "subscribe_alerts", "id": "ingest", "tx_types": TYPES, "min_value_usd": min_usd}).decode())

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
        return list(_records(alert, alert.transaction, self._options, received_at))

    def answer(self, request: Request, response: Response, now: int) -> Sequence[Output]:
        raise AssertionError(f"this session makes no requests: {request.url} ({response.status}, {now})")

    def failed(self, request: Request, now: int) -> Sequence[Output]:
        return self.answer(request, Response(0, b""), now)

    def tick(self, _now: int) -> Sequence[Output]:
        return ()


def _records(
    alert: _Alert, transaction: _FullTransaction, options: PollOptions, received_at: int
) -> Iterator[WhaleTransaction | Malformed]:
    inputs: dict[str, list[Raw]] = {}  # by the symbol of the token
    outputs: dict[str, list[Raw]] = {}
    for part in readable(transaction.sub_transactions, _PART):
        inputs.setdefault(part.symbol.upper(), []).extend(part.inputs)
        outputs.setdefault(part.symbol.upper(), []).extend(part.outputs)

    def read(amount: _Amount) -> Iterator[WhaleTransaction]:
        if Decimal(checked.total(amount.value_usd)) < options.min_usd:
            return
        token = amount.symbol.upper()
        # taken out: a second amount of the same token would read them again
        sender = _Party(_largest(inputs.pop(token, ())), alert.sender)
        recipient = _Party(_largest(outputs.pop(token, ())), alert.recipient)
        transfer = _Transfer(
            alert.blockchain, amount.symbol, transaction.hash, alert.timestamp, amount.amount, amount.value_usd, sender, recipient
        )
        yield _record(transfer, transaction.height, options, received_at)

    try:
        yield from elements(alert.amounts, _AMOUNT, read)
    except Reject:  # none can be read: each is malformed already
        return


def _largest(parties: Iterable[Raw]) -> str:
    finite = (party for party in readable(parties, _PARTY) if party.amount.is_finite())
    return max(finite, key=lambda party: party.amount, default=_Party()).address


# --- by REST ----------------------------------------------------------------------------------------------------------


def poll(options: PollOptions, cursor: str) -> Poll:
    """The transfers since the last turn, at most those of `MAX_AGE`. The cursor is a start time (seconds) and v1's own cursor."""
    now = (yield from answer_to(Request(f"{options.base_url}/status", secret=options.secret))).as_of
    since, _, page_cursor = cursor.partition(" ")
    reach = (now - MAX_AGE) // SECOND
    if int(since or 0) < reach:
        since, page_cursor = str(reach), ""
    records: list[WhaleTransaction | Malformed] = []
    for _ in range(PAGES):
        query = {"start": since, "min_value": str(max(options.min_usd, MIN_V1_USD)), "limit": str(PAGE)} | (
            {"cursor": page_cursor} if page_cursor else {}
        )
        answer = yield from answer_to(Request(f"{options.base_url}/transactions?{urlencode(query)}", secret=options.secret))
        page = decoded(answer, _Pages)
        if page.result != "success":
            raise _refusal(page.message)
        seen = [int(since)]

        def read(transfer: _Transfer, seen: list[int] = seen, received_at: int = answer.received_at) -> Iterator[WhaleTransaction]:
            checked.time_of(transfer.timestamp, SECOND, received_at)
            seen.append(transfer.timestamp)
            if Decimal(checked.total(transfer.amount_usd)) >= options.min_usd:
                yield _record(transfer, None, options, received_at)

        records += elements(page.transactions, _TRANSFER, read)
        page_cursor = checked.native_id(page.cursor) if page.cursor else page_cursor
        if len(page.transactions) < PAGE:
            since = str(max(seen))
            break
    yield records
    return f"{since} {page_cursor}"


def _refusal(message: str) -> Retry | Reject:
    """An error in an answer of status 200: Reject for a wrong key, which a person must correct, else Retry."""
    if "api_key" in message or "api key" in message.lower():
        return Reject(f"v1: {message}", reason="http", code="401")
    return Retry(f"v1: {message}")


# --- a transfer -------------------------------------------------------------------------------------------------------


def _record(transfer: _Transfer, height: int | None, options: PollOptions, received_at: int) -> WhaleTransaction:
    """The row. Raises Reject (value) for a value that the table cannot hold."""
    sender, recipient = (_normalised(transfer.blockchain, party.address) for party in (transfer.sender, transfer.recipient))
    checked.price(transfer.amount_usd)
    row = WhaleTransaction(
        blockchain=transfer.blockchain,
        hash=_normalised(transfer.blockchain, transfer.hash),
        token=transfer.symbol.upper(),
        index=0,
        time=checked.time_of(transfer.timestamp, SECOND, received_at),
        from_address=sender,
        from_label=options.labels.get(sender) or _owner_label(transfer.sender),
        to_address=recipient,
        to_label=options.labels.get(recipient) or _owner_label(transfer.recipient),
        amount_token=checked.amount(transfer.amount),
        amount_usd=f"{transfer.amount_usd.quantize(CENT, context=EXACT):f}",
        alert_level=level_of(transfer.amount_usd),
        block_height=height,
        block_hash=None,
        source=NAME,
        received_at=received_at,
    )
    return checked_row(row)


def _owner_label(party: _Party) -> str | None:
    return None if party.owner.lower() in UNKNOWN else party.owner


def _normalised(blockchain: str, text: str) -> str:
    """A hash or an address in the form in which it is stored for that chain."""
    if blockchain not in EVM or not text:
        return text
    return text.lower() if text[:2].lower() == "0x" else f"0x{text.lower()}"
