"""The contract of an explorer of Ethereum, and the envelope of the answers of Etherscan and Blockscout.

An error has HTTP status 200 and "status": "0"; an empty result has them too.
https://docs.etherscan.io/common-error-messages
"""

from __future__ import annotations

from typing import Protocol, TypeVar
from urllib.parse import urlencode

from msgspec import Raw, Struct
from msgspec.json import Decoder

from ingest.errors import Reject, Retry
from ingest.pollers._whale_chain import Block
from ingest.polling.provider import Part, PollOptions, decoded
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, Response, answer_to

T = TypeVar("T")

MAX_ROWS = 1000  # of an answer of either explorer without a paid plan; an answer with so many rows may be incomplete


class TooMuch(Retry):
    """The explorer cannot compute the answer: a smaller range of blocks must be requested."""


class EtherTransfer(Struct, frozen=True):
    """One transaction that transfers ether; `value` is in wei."""

    hash: str
    sender: str
    recipient: str
    value: int


class BlockContent(Struct, frozen=True):
    """A block and its transactions that transfer ether, which may include reverted ones; `received_at` is in microseconds."""

    block: Block
    ether_transfers: list[EtherTransfer]
    malformed: list[Malformed]  # the transactions that cannot be read
    received_at: int


class TokenTransfer(Struct, frozen=True):
    """One Transfer event of a token; `value` is in the token's smallest unit.

    `received_at` is in microseconds. The block's `parent` is ''; its `hash` is '' if it is not known.
    """

    hash: str
    block: Block
    sender: str
    recipient: str
    value: int
    received_at: int


class TokenTransfers(Struct, frozen=True):
    """The transfers of an answer, its elements that cannot be read, and the number of all of them."""

    transfers: list[TokenTransfer]
    malformed: list[Malformed]
    rows: int


class Explorer(Protocol):
    """One explorer: a module `_whale_NAME.py`."""

    SOURCE: str

    def tip(self, options: PollOptions) -> Part[int]:
        """The height of the newest block."""

    def block(self, options: PollOptions, height: int) -> Part[BlockContent]:
        """The content of a block."""

    def height_at(self, options: PollOptions, time: int, closest: str) -> Part[int]:
        """The height of the block at `time` (microseconds) or else of the closest block `before` or `after` it, by `closest`."""

    def token_transfers(self, options: PollOptions, contract: str, first: int, last: int) -> Part[TokenTransfers]:
        """A token's transfers in the blocks first..last, at most `MAX_ROWS`. Raises TooMuch if it demands a smaller range."""

    def succeeded(self, options: PollOptions, transfer: EtherTransfer) -> Part[bool]:
        """Whether the transaction of the transfer was not reverted; a reverted transaction moves no ether."""


class _Answer(Struct):
    result: Raw = Raw(b"null")
    message: str = ""
    error: Raw = Raw(b"")


_Decoder = Decoder(_Answer)
_Text = Decoder(str)


def call_api(options: PollOptions, path: str, query: dict[str, str], decoder: Decoder[T]) -> Part[tuple[T, int]]:
    """The `result` of the answer, and the time at which it was received. Raises Retry or Reject for an error: see `_refusal`."""
    request = Request(f"{options.base_url}{path}?{urlencode(query)}", secret=options.secret)
    response = yield from answer_to(request)
    answer = decoded(response, _Decoder)
    if answer.error or bytes(answer.result) == b"null":
        text = (bytes(answer.error) or response.body)[:200].decode(errors="replace")
        refusal = _refusal(query["action"], text)
        raise refusal if isinstance(refusal, TooMuch) else Retry(f"{query['action']}: {text}")
    if answer.message == "NOTOK" or (query["module"] in ("account", "logs") and bytes(answer.result)[:1] == b'"'):
        raise _refusal(query["action"], decoded(Response(200, bytes(answer.result)), _Text))
    return decoded(Response(200, bytes(answer.result)), decoder), response.received_at


def _refusal(action: str, text: str) -> Retry | Reject:
    """An error in an answer of status 200: TooMuch for a range that is too large, Reject for a wrong key, else Retry."""
    lower = text.lower()
    # tested first: the message continues "please use API Key for higher rate limit"
    if "rate limit" in lower or "too many" in lower:
        return Retry(f"{action}: {text}", after=60.0, code="429")
    if "smaller result dataset" in lower or "query timeout" in lower:  # "Query Timeout occured. Please select a smaller ..."
        return TooMuch(f"{action}: {text}")
    if "api key" in lower:
        return Reject(f"{action}: {text}", reason="http", code="401")
    return Retry(f"{action}: {text}")
