"""What an explorer of Ethereum is asked for, and the envelope in which Etherscan and Blockscout answer.

https://docs.etherscan.io/resources/common-error-messages. The rule one would get wrong: they refuse with status 200, and nothing
found is "status": "0" as well.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol, TypeVar
from urllib.parse import urlencode

from msgspec import Raw, Struct
from msgspec.json import Decoder

from ingest.errors import Reject, Retry
from ingest.pollers._whale_chain import Block
from ingest.polling.provider import PollOptions, decoded
from ingest.protocol.http import Request, Response, answer_to

T = TypeVar("T")
Asking = Generator[Request, object, T]

FULL = 1000  # rows that one answer has at most, of either, without a paid plan: some are missing then


class Native(Struct, frozen=True):
    """One transaction that moves ether; `value` in wei."""

    hash: str
    sender: str
    recipient: str
    value: int


class Content(Struct, frozen=True):
    """A block and its transactions that move ether, those reverted perhaps included; `received_at` in microseconds."""

    block: Block
    natives: list[Native]
    received_at: int


class Move(Struct, frozen=True):
    """One Transfer event of a token, in its smallest unit. The block's hash is '' where it is not said, as its parent is."""

    hash: str
    block: Block
    sender: str
    recipient: str
    value: int
    received_at: int


class Explorer(Protocol):
    """One source: a part of this family."""

    SOURCE: str

    def tip(self, options: PollOptions) -> Asking[int]:
        """The height of the newest block."""

    def block(self, options: PollOptions, height: int) -> Asking[Content]:
        """What stands in a block."""

    def height_at(self, options: PollOptions, time: int, closest: str) -> Asking[int]:
        """The height of the block at `time`, in microseconds; where there is none, of the one `before` or `after` it."""

    def moves(self, options: PollOptions, contract: str, first: int, last: int) -> Asking[list[Move]]:
        """A token's transfers in the blocks first..last, at most `FULL`."""

    def succeeded(self, options: PollOptions, native: Native) -> Asking[bool]:
        """Whether the transaction was not reverted: its ether stays where it was then."""


class _Answer(Struct):
    result: Raw = Raw(b"null")
    message: str = ""
    error: Raw = Raw(b"")


_Decoder = Decoder(_Answer)
_Text = Decoder(str)


def asked(options: PollOptions, path: str, query: dict[str, str], decoder: Decoder[T]) -> Asking[tuple[T, int]]:
    """`result` of the answer, and when it came. Raises Retry or Reject for what is none: see `_refusal`."""
    request = Request(f"{options.base_url}{path}?{urlencode(query)}", secret=options.secret)
    response = yield from answer_to(request)
    answer = decoded(response, _Decoder)
    if answer.error or bytes(answer.result) == b"null":
        raise Retry(f"{query['action']}: {(bytes(answer.error) or response.body)[:200].decode(errors='replace')}")
    if answer.message == "NOTOK" or (query["module"] in ("account", "logs") and bytes(answer.result)[:1] == b'"'):
        raise _refusal(query["action"], decoded(Response(200, bytes(answer.result)), _Text))
    return decoded(Response(200, bytes(answer.result)), decoder), response.received_at


def _refusal(action: str, text: str) -> Retry | Reject:
    """An error in an answer of status 200: a wrong key waits for a person, all else for better times."""
    if "rate limit" in text.lower() or "too many" in text.lower():  # it goes on: "please use API Key for higher rate limit"
        return Retry(f"{action}: {text}", after=60.0, code="429")
    if "api key" in text.lower():
        return Reject(f"{action}: {text}", reason="http", code="401")
    return Retry(f"{action}: {text}")
