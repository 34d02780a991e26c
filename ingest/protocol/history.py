"""The history of one market as pure code sees it: the request, and the pages of the answer."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from itertools import repeat

from msgspec import Struct, convert

from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, Response
from ingest.protocol.session import ChannelName
from ingest.records import MINUTE, SECOND, Instrument, Record, Trade


class Columns(Struct, frozen=True):
    """Records of one kind, at least one and in time order, as a bulk file gives them: column by column.

    `values` are by the record's field: a list of checked text (digits or a word of ours) where rows differ, else the value of all
    rows. No object is made for a row that goes straight to its table: that would be most of the cost of such a row.
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
    """One step of a history, in time order: with it everything that was requested before `until` has been sent.

    `rejected` are the rows that could not be read; the reader of the page counts and stores them.
    """

    records: Sequence[Record] | Columns
    until: int
    rejected: Sequence[Malformed] = ()


# the age from which an answer is complete: younger rows may not have reached the REST servers, and a younger bar may not be closed
SETTLED = 10 * SECOND


class HistoryRequest(Struct, frozen=True, kw_only=True):
    """A range of one market's history: [since, until) in microseconds, or, where ids are dense, first_id..last_id.

    With ids the times only say where to look, because fills of one moment may lie on both sides of a gap's edge.
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
        """Whether no record after this one is wanted."""
        if self.last_id is not None and isinstance(record, Trade):
            return record.trade_id >= self.last_id
        return record.time >= self.until

    def complete_until(self, response: Response) -> int:
        """The time up to which an answer is complete, and a bar in it closed."""
        time = response.as_of - SETTLED
        if self.channel == "candles":
            time -= time % MINUTE
        return max(self.since, min(self.until, time))

    def page(
        self, records: Iterable[Record], response: Response, until: int | None = None, rejected: Sequence[Malformed] = ()
    ) -> Page:
        """The wanted ones of `records`: everything before `until`, or everything that was requested where that is None."""
        complete = self.complete_until(response)
        wanted = [r for r in records if self.wants(r) and (self.channel != "candles" or r.time < complete)]
        return Page(wanted, complete if until is None else max(self.since, min(until, complete)), rejected)


# Requests and pages. A request's response is sent in, None after a page. It ends when all that the exchange has was sent.
History = Generator[Request | Page, Response | None, None]
