"""The instrument ids and the database version of the last run: enough to receive and spool rows when the daemon starts without its
database.

They are in a JSON file in the spool's directory, which is replaced as a whole
(https://man7.org/linux/man-pages/man2/rename.2.html) when instruments are stored. The file is not a cache: while the database
answers, the ids come from there. The ids in the file and in the spooled rows belong to one database, so `confirm` checks for the
same database before a spooled row is written.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ingest.errors import Hold, Retry
from ingest.protocol.decode import UNREADABLE
from ingest.records import Instrument
from ingest.store import sqlstate
from ingest.store.instruments import store_instruments
from ingest.store.pool import Pool
from ingest.store.ts_edition import DatabaseInfo

NAME = "known.json"

_IDS = "SELECT exchange, symbol, id FROM instruments WHERE id = ANY($1::int[])"

log = logging.getLogger(__name__)


class Market(Struct, frozen=True):
    """The id of one instrument, and the feed that fills its trades, if any."""

    exchange: str
    symbol: str
    id: int
    trade_kind: str | None


class Known(Struct, frozen=True):
    """The content of the file."""

    database: DatabaseInfo
    markets: tuple[Market, ...]


def load_known_instruments(folder: Path | None) -> KnownInstruments:
    """The instruments of an earlier run, from the file in `folder`; without a folder nothing is kept. Blocks.

    A file that cannot be read counts as missing.
    """
    if folder is None:
        return KnownInstruments(None)
    path = folder / NAME
    try:
        return KnownInstruments(path, msgspec.json.decode(path.read_bytes(), type=Known))
    except FileNotFoundError:
        pass
    except (OSError, *UNREADABLE) as error:
        log.error("%s cannot be read, so no instrument is known until the database answers: %s", path, error)
    return KnownInstruments(path)


class KnownInstruments:
    """The instruments that are `known` from an earlier run, and those stored in this one, which are kept in the file `path`."""

    def __init__(self, path: Path | None, known: Known | None = None) -> None:
        self.database = known.database if known is not None else None  # when instruments were last stored
        self._confirmed: DatabaseInfo | None = None  # since the database has answered in this run
        self._path = path
        self._markets = {(market.exchange, market.symbol): market for market in (known.markets if known is not None else ())}
        self._lock = Lock()

    @property
    def ids(self) -> set[int]:
        """The ids of all known instruments."""
        return {market.id for market in self._markets.values()}

    async def confirm(self, pool: Pool, info: DatabaseInfo, *, needed: bool) -> None:
        """Call this when the database answers, with its `info`. Checks the ids against it if they are `needed`, else forgets them.

        Raises Hold if it is another database than that of the file, Retry if it does not answer.
        """
        if needed:
            await self._verify(pool)
        else:
            self.database, self._markets = None, {}
        self._confirmed = info

    async def store(self, pool: Pool, instruments: Sequence[Instrument], trade_kind: str | None) -> list[Instrument]:
        """As `store_instruments`; while the database is down, returns the instruments whose ids are known."""
        known = self._find(instruments, trade_kind)
        if self._confirmed is None:
            return known
        try:
            stored = await store_instruments(pool, instruments, trade_kind)
        except Retry:
            if len(known) < len(instruments):
                raise
            return known
        if self._path is not None:
            await asyncio.to_thread(self._update, self._confirmed, stored, trade_kind)
        return stored

    def _find(self, instruments: Sequence[Instrument], trade_kind: str | None) -> list[Instrument]:
        """The known instruments with their ids, without those that another trade feed fills."""
        found = [(row, self._markets.get((row.exchange, row.symbol))) for row in instruments]
        return [
            replace(row, id=market.id) for row, market in found if market is not None and trade_kind in (None, market.trade_kind)
        ]

    async def _verify(self, pool: Pool) -> None:
        try:
            rows = await pool.fetch(_IDS, sorted(self.ids))
        except sqlstate.FOREIGN as error:
            raise sqlstate.translate(error, "reading the instruments of the spool") from error
        stored = {row["id"]: (row["exchange"], row["symbol"]) for row in rows}
        for market in self._markets.values():
            found = " ".join(stored.get(market.id, ("nothing",)))
            if found != f"{market.exchange} {market.symbol}":
                self.database = None  # so that no source starts with these ids
                raise Hold(
                    f"the spool has rows of another database: instrument {market.id} is {market.exchange} {market.symbol} in "
                    f"{self._path}, {found} in this database; right would be that database, or another spool.path"
                )

    # --- in a thread --------------------------------------------------------------------------------------------------------

    def _update(self, database: DatabaseInfo, stored: Sequence[Instrument], trade_kind: str | None) -> None:
        with self._lock:
            markets = dict(self._markets)
            for row in stored:
                before = markets.get((row.exchange, row.symbol))
                kind = trade_kind or (before.trade_kind if before is not None else None)
                markets[row.exchange, row.symbol] = Market(row.exchange, row.symbol, row.id, kind)
            if (database, markets) != (self.database, self._markets):
                self.database, self._markets = database, markets
                self._save(Known(database, tuple(markets.values())))

    def _save(self, known: Known) -> None:
        assert self._path is not None
        new = self._path.with_suffix(".new")
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640), "wb") as file:
                file.write(msgspec.json.encode(known))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except OSError as error:
            log.error("%s: %s: a start without the database will lack the newest instruments", self._path, error.strerror)
