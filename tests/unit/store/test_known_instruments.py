"""The file of known instruments: loading and use. tests/daemon/test_start.py tests how it is written."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from ingest.records import Instrument
from ingest.store.known_instruments import NAME, Known, KnownInstruments, Market, load_known_instruments
from ingest.store.pool import open_pool
from ingest.store.ts_edition import DatabaseInfo

INFO = DatabaseInfo("apache", "2.27.2", "15.20", 640)
BTC = Instrument("demo", "BTCUSDT", "BTC/USDT", "BTC", "USDT", "spot", "trading")
ETH = replace(BTC, symbol="ETHUSDT", instrument="ETH/USDT", base="ETH")
KNOWN = Known(INFO, (Market("demo", "BTCUSDT", 7, "trade"), Market("other", "ETHUSDT", 9, None)))


def loaded(folder: Path) -> KnownInstruments:
    (folder / NAME).write_bytes(msgspec.json.encode(KNOWN))
    return load_known_instruments(folder)


def test_the_file_has_the_database_and_its_instruments(tmp_path: Path):
    memory = loaded(tmp_path)
    assert (memory.database, memory.ids) == (INFO, {7, 9})


@pytest.mark.parametrize("content", [b"", b"{", b'{"database":{}}', b"\xff\xfe", b"[]"])
def test_a_malformed_file_is_like_a_missing_one(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture):
    (tmp_path / NAME).write_bytes(content)
    memory = load_known_instruments(tmp_path)
    assert (memory.database, memory.ids) == (None, set())
    assert f"{tmp_path / NAME} cannot be read" in caplog.text


def test_without_a_file_or_a_folder_no_instrument_is_known(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for memory in (load_known_instruments(tmp_path), load_known_instruments(None)):
        assert (memory.database, memory.ids, caplog.text) == (None, set(), "")


@pytest.mark.parametrize(("trade_kind", "ids"), [("trade", [7]), (None, [7]), ("aggTrade", [])])
async def test_known_instruments_have_their_id_while_the_database_is_away(tmp_path: Path, trade_kind: str | None, ids: list[int]):
    pool = await open_pool("postgresql://nobody@127.0.0.1:1/none", 1)  # it would connect at its first use, which does not happen
    found = await loaded(tmp_path).store(pool, [BTC, ETH], trade_kind)
    assert found == [replace(BTC, id=number) for number in ids]
    pool.terminate()
