"""The past of one market as pure code sees it: what is asked for, and the pages in which it comes."""

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

    `values` are by the record's field: a list where rows differ, of text that was checked (digits or one of our own words), else
    the value of all. No object is made for a row that goes straight to its table, which is most of what such a row costs.
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
    """One step of a history, in time order: with it everything of what was asked before `until` has been said.

    `rejected` are the rows that could not be read; whoever reads the page counts and stores them.
    """

    records: Sequence[Record] | Columns
    until: int
    rejected: Sequence[Malformed] = ()


SETTLED = 10 * SECOND  # so old must an answer's rows be: younger ones may be on their way to the servers of REST, or a running bar


class HistoryRequest(Struct, frozen=True, kw_only=True):
    """What of one stream's past is wanted: [since, until) in microseconds, or, where ids are dense, first_id..last_id.

    With ids, the times only say where to look: fills of one moment may lie on both sides of a hole's edge.
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
        """Whether nothing that is wanted comes after this record."""
        if self.last_id is not None and isinstance(record, Trade):
            return record.trade_id >= self.last_id
        return record.time >= self.until

    def settled(self, response: Response) -> int:
        """Up to where an answer can vouch that it left nothing out, and that a bar in it is closed."""
        time = response.as_of - SETTLED
        if self.channel == "candles":
            time -= time % MINUTE
        return max(self.since, min(self.until, time))

    def page(
        self, records: Iterable[Record], response: Response, until: int | None = None, rejected: Sequence[Malformed] = ()
    ) -> Page:
        """What is wanted of `records`; with it all before `until` was said, or all that was asked where that is None."""
        settled = self.settled(response)
        told = [r for r in records if self.wants(r) and (self.channel != "candles" or r.time < settled)]
        return Page(told, settled if until is None else max(self.since, min(until, settled)), rejected)


# Pages as they come. A request's response is sent in, None after a page; it ends when all that the exchange has was said.
History = Generator[Request | Page, Response | None, None]
