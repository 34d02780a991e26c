"""The history of one market as pure code sees it: the request, and the pages of its records."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from itertools import repeat

from msgspec import Struct, convert

from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, Response
from ingest.protocol.session import ChannelName
from ingest.records import MINUTE, SECOND, Instrument, Record, Trade


class Columns(Struct, frozen=True):
    """Records of one type, at least one and in time order, column by column, as they come from a bulk file.

    `values` maps a field of the record to its column: a list of checked text (digits, or a word that needs no escaping) where rows
    differ, else the value of all rows. Columns avoid an object for each row, which would be most of the cost of a row.
    """

    record: type[Record]
    times: list[int]  # microseconds
    values: Mapping[str, list[str] | str | int | None]

    def __len__(self) -> int:
        return len(self.times)

    def __iter__(self) -> Iterator[Record]:
        columns = [value if isinstance(value, list) else repeat(value) for value in self.values.values()]
        names = ("time", *self.values)
        for row in zip(self.times, *columns, strict=False):  # `repeat` has no end
            yield convert(dict(zip(names, row, strict=True)), self.record, strict=False)


class Page(Struct, frozen=True):
    """One step of a history, its records in time order. With it every requested record before `until` (microseconds) has been sent.

    `rejected` are the rows that cannot be read; the caller counts and stores them.
    """

    records: Sequence[Record] | Columns
    until: int
    rejected: Sequence[Malformed] = ()


# a response is complete up to this age: younger rows may not have reached the REST servers, and a younger bar may not be closed
SETTLED = 10 * SECOND


class HistoryRequest(Struct, frozen=True, kw_only=True):
    """A range of one market's history: [since, until) in microseconds, or, where ids are dense, first_id..last_id.

    With ids the times only narrow the search: trades of one microsecond may lie on both sides of a gap's edge.
    """

    instrument: Instrument
    channel: ChannelName
    since: int
    until: int
    first_id: int | None = None
    last_id: int | None = None

    def wants(self, record: Record) -> bool:
        if self.first_id is not None and isinstance(record, Trade):
            return self.first_id <= record.trade_id and (self.last_id is None or record.trade_id <= self.last_id)
        return self.since <= record.time < self.until

    def is_past(self, record: Record) -> bool:
        """Whether no record after this one is requested."""
        if self.last_id is not None and isinstance(record, Trade):
            return record.trade_id >= self.last_id
        return record.time >= self.until

    def complete_until(self, response: Response) -> int:
        """The time in microseconds up to which a response is complete, and a bar in it closed."""
        time = response.as_of - SETTLED
        if self.channel == "candles":
            time -= time % MINUTE
        return max(self.since, min(self.until, time))

    def page(
        self, records: Iterable[Record], response: Response, until: int | None = None, rejected: Sequence[Malformed] = ()
    ) -> Page:
        """A page of the requested ones of `records`, which are complete before `until`; None: up to the end of the request."""
        complete = self.complete_until(response)
        wanted = [r for r in records if self.wants(r) and (self.channel != "candles" or r.time < complete)]
        return Page(wanted, complete if until is None else max(self.since, min(until, complete)), rejected)


# Yields requests and pages, and is sent the response to each request, None after a page. It ends after the last page.
History = Generator[Request | Page, Response | None, None]
