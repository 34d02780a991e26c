"""The spool on a real disk: its records after a restart, a crash during a write, a flipped byte, and on a full disk."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ingest.errors import Retry, Stop
from ingest.pipeline.batch import Batch
from ingest.pipeline.spool import KEPT_BYTES, SEGMENT_BYTES, Damaged, Entry, Spool, open_spool
from ingest.pipeline.time_ranges import spans
from ingest.tables import TRADES
from tests.support.batches import COLUMNS, NOW, THREE, batch, from_spool, in_format, large, packed


class Bench:
    """Successive runs of a spool in one directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.errors: Counter[tuple[str, str, str]] = Counter()
        self.spool: Spool
        self.found: dict[str, list[Entry]] = {}
        self._opened = False

    def open(self, max_bytes: int = 1 << 30, sync_seconds: float | None = 0) -> Spool:
        """Begin a run. The run before ends as by a kill: nothing is tidied up, and the lock is released."""
        self.leave()
        self.errors: Counter[tuple[str, str, str]] = Counter()
        self.spool, self.found = open_spool(self.path, self.errors, max_bytes=max_bytes, sync_seconds=sync_seconds)
        self._opened = True
        return self.spool

    def leave(self) -> None:
        if self._opened:
            self.spool.abandon()
        self._opened = False

    def close(self) -> None:
        """End the run in order."""
        self.spool.close()
        self._opened = False

    def add(self, *batches: Batch) -> list[Entry]:
        entries = [self.spool.append("trades", COLUMNS, item, spans(TRADES, item.data)) for item in batches]
        return [entry for entry in entries if entry is not None]

    def remove(self, entry: Entry) -> None:
        self.spool.remove(entry)
        self.spool.tidy()

    def files(self) -> list[str]:
        return sorted(path.name for path in self.path.iterdir())

    def on_disk(self) -> int:
        return sum(path.stat().st_size for path in self.path.glob("*.spool"))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "spool")
    bench.open()
    yield bench
    bench.leave()


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """Limit the files of this process to `size` bytes: a write beyond it is cut off with OSError, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# --- the directory ------------------------------------------------------------------------------------------------------


def test_appended_batches_are_found_after_a_kill_oldest_first(bench: Bench):
    bench.add(*THREE)
    bench.open()
    (first,) = bench.files()
    assert [entry.rows for entry in bench.found["trades"]] == [item.rows for item in THREE]
    assert [bench.spool.read(entry) for entry in bench.found["trades"]] == [from_spool(item, first) for item in THREE]
    bench.add(batch(30))
    bench.open()
    first, second = bench.files()
    assert [bench.spool.read(entry) for entry in bench.found["trades"]] == [
        *(from_spool(item, first) for item in THREE),
        from_spool(batch(30), second),
    ]
    assert bench.spool.used_bytes == bench.on_disk() > 0


def test_a_record_can_be_read_while_its_segment_is_open(bench: Bench):
    (entry,) = bench.add(batch(0))
    assert bench.spool.read(entry) == from_spool(batch(0), entry.segment.path.name)


def test_tables_have_segments_of_their_own(bench: Bench):
    bench.add(batch(0))
    bench.spool.append("quotes", ("a",), batch(10), ())
    bench.open()
    assert [len(bench.found[table]) for table in ("trades", "quotes")] == [1, 1]
    assert bench.files() == ["quotes-00000002.spool", "trades-00000001.spool"]


def test_a_segment_is_deleted_with_the_last_of_its_records(bench: Bench):
    entries = bench.add(*(large(number, 3 << 20) for number in range(4)))
    assert bench.files() == [
        "trades-00000001.spool",
        "trades-00000002.spool",
    ]  # the third batch reached the bound of the first segment
    assert bench.spool.used_bytes == bench.on_disk() > SEGMENT_BYTES
    for entry in (entries[2], entries[0]):
        bench.remove(entry)
        assert "trades-00000001.spool" in bench.files()
    bench.remove(entries[1])
    assert bench.files() == ["trades-00000002.spool"]
    bench.remove(entries[3])
    assert (bench.files(), bench.spool.used_bytes) == ([], 0)


def test_a_small_segment_is_kept_open_and_deleted_at_the_end(bench: Bench):
    for number in range(3):
        (entry,) = bench.add(batch(number))
        bench.remove(entry)
    assert 0 < bench.spool.used_bytes < KEPT_BYTES
    assert bench.files() == ["trades-00000001.spool"]
    bench.close()
    assert bench.files() == []


def test_pending_records_stay_at_the_end(bench: Bench):
    bench.add(batch(0))
    bench.close()
    bench.open()
    assert [entry.rows for entry in bench.found["trades"]] == [4]


def test_max_bytes_is_never_exceeded_and_a_removal_makes_room(bench: Bench):
    size = len(packed(batch(0)))
    bench.open(max_bytes=2 * size)
    entries = bench.add(batch(0), batch(1), batch(2))
    assert len(entries) == 2
    assert bench.on_disk() == bench.spool.used_bytes == 2 * size
    bench.open(max_bytes=2 * size)
    for entry in bench.found["trades"]:
        assert bench.add(batch(3)) == []
        bench.remove(entry)
    assert len(bench.add(batch(3), batch(4), batch(5))) == 2
    assert bench.on_disk() == bench.spool.used_bytes == 2 * size


def test_a_second_daemon_on_the_directory_is_refused(bench: Bench):
    with pytest.raises(Stop, match=f"spool.path {bench.path} is in use by another daemon"):
        open_spool(bench.path, Counter(), max_bytes=1, sync_seconds=None)
    bench.close()
    bench.open()


def test_a_path_that_cannot_be_a_directory_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(Stop, match=r"spool.path .*file/spool: Not a directory"):
        open_spool(tmp_path / "file" / "spool", Counter(), max_bytes=1, sync_seconds=None)


# --- damage -------------------------------------------------------------------------------------------------------------


def change(bench: Bench, name: str, edit: Callable[[bytearray], object]) -> None:
    """Change a segment between two runs, as a crash or a bad disk does."""
    bench.leave()
    data = bytearray((bench.path / name).read_bytes())
    edit(data)
    (bench.path / name).write_bytes(data)
    bench.open()


def test_a_torn_end_is_cut_off_and_counted(bench: Bench):
    entries = bench.add(batch(0), batch(10))
    name = entries[0].segment.path.name
    change(bench, name, lambda data: data.__delitem__(slice(-1, None)))
    assert [bench.spool.read(entry) for entry in bench.found["trades"]] == [from_spool(batch(0), name)]
    assert (bench.errors["", "spool", "torn"], bench.errors["", "spool", "damaged"]) == (1, 0)
    assert bench.on_disk() == bench.spool.used_bytes == entries[1].offset
    bench.open()
    assert (len(bench.found["trades"]), bench.errors["", "spool", "torn"]) == (1, 0)


def test_a_segment_with_only_a_torn_record_is_deleted(bench: Bench):
    (entry,) = bench.add(batch(0))
    change(bench, entry.segment.path.name, lambda data: data.__delitem__(slice(10, None)))
    assert (bench.found, bench.files(), bench.errors["", "spool", "torn"]) == ({}, [], 1)


def test_damaged_rows_have_the_time_range_of_their_head_and_are_kept(bench: Bench):
    entries = bench.add(batch(0), batch(10), batch(20))
    name = entries[0].segment.path.name
    change(bench, name, lambda data: data.__setitem__(entries[2].offset - 3, 0))
    first, second, third = bench.found["trades"]
    bad_file = f"trades-00000001-{second.offset}.bad"
    assert bench.spool.read(first) == from_spool(batch(0), name)
    assert bench.spool.read(third) == from_spool(batch(20), name)
    assert bench.spool.read(second) == Damaged(
        f"segment {name}, byte {second.offset}: 4 rows are damaged, kept as {bad_file}",
        ((1, NOW + 10, NOW + 12), (2, NOW + 11, NOW + 13)),
    )
    expected = bytearray(packed(batch(10)))
    expected[-3] = 0
    assert (bench.path / bad_file).read_bytes() == expected
    for entry in (first, second, third):
        bench.remove(entry)
    assert bench.files() == [bad_file]


def test_the_time_range_of_a_damaged_head_is_read_from_the_rows(bench: Bench):
    entries = bench.add(batch(0), batch(10))
    name = entries[0].segment.path.name
    change(bench, name, lambda data: data.__setitem__(2, 0))
    first, second = bench.found["trades"]
    assert (first.rows, second.rows) == (0, 4)
    assert [bench.spool.read(entry) for entry in (first, second)] == [
        Damaged(
            f"segment {name}, byte 0: not a record, kept as trades-00000001-0.bad",
            ((1, NOW, NOW + 2), (2, NOW + 1, NOW + 3)),
        ),
        from_spool(batch(10), name),
    ]
    assert bench.errors["", "spool", "damaged"] == 1
    expected = bytearray(packed(batch(0)))
    expected[2] = 0
    assert (bench.path / "trades-00000001-0.bad").read_bytes() == expected


def test_the_time_range_of_unreadable_rows_is_that_between_the_neighbours(bench: Bench):
    entries = bench.add(batch(0), batch(10), batch(20))
    name, second = entries[0].segment.path.name, entries[1]
    change(bench, name, lambda data: data.__setitem__(slice(second.offset, second.offset + second.size), bytes(second.size)))
    read = bench.spool.read(bench.found["trades"][1])
    assert isinstance(read, Damaged)
    assert read.spans == ((1, NOW + 23, NOW + 100), (2, NOW + 23, NOW + 100))  # received_at of the first, last_time of the third


def test_kept_damaged_files_count_and_the_oldest_is_deleted_first(bench: Bench):
    entries = bench.add(batch(0), batch(10), batch(20))
    size = entries[0].size
    for entry in entries:
        with entry.segment.path.open("r+b") as file:
            file.seek(entry.offset + entry.size - 3)
            file.write(b"\0")
    bench.open(max_bytes=16 * (2 * size + size // 2))  # room for two
    for entry in bench.found["trades"]:
        assert isinstance(bench.spool.read(entry), Damaged)
        bench.remove(entry)
    names = [f"trades-00000001-{entry.offset}.bad" for entry in entries[1:]]
    assert bench.files() == sorted(names)
    assert bench.spool.used_bytes == sum((bench.path / name).stat().st_size for name in names)
    bench.open(max_bytes=16 * (2 * size + size // 2))
    assert bench.spool.used_bytes == sum((bench.path / name).stat().st_size for name in names)


def test_a_damaged_record_larger_than_the_share_is_not_kept(bench: Bench):
    (entry,) = bench.add(batch(0))
    change(bench, entry.segment.path.name, lambda data: data.__setitem__(-3, 0))
    bench.open(max_bytes=16 * (entry.size - 1))
    read = bench.spool.read(bench.found["trades"][0])
    assert isinstance(read, Damaged)
    assert f"not kept: {entry.size} bytes exceed the {entry.size - 1} that are left" in read.reason
    bench.remove(bench.found["trades"][0])
    assert bench.files() == []


def test_a_record_of_another_format_is_kept_and_reported(bench: Bench):
    (entry,) = bench.add(batch(0))
    name = entry.segment.path.name
    change(bench, name, lambda data: data.__setitem__(slice(None), in_format(2, bytes(data))))
    (found,) = bench.found["trades"]
    assert (found.rows, found.format, bench.errors["", "spool", "damaged"]) == (4, 2, 0)
    bench.close()
    assert bench.files() == [name]


def test_a_byte_that_is_flipped_during_a_run_is_found_by_read(bench: Bench):
    (entry,) = bench.add(batch(0))
    with entry.segment.path.open("r+b") as file:
        file.seek(30)
        file.write(b"\0")
    read = bench.spool.read(entry)
    assert isinstance(read, Damaged)
    assert read.spans == ((1, NOW, NOW + 2), (2, NOW + 1, NOW + 3))  # read from the rows, because the head is damaged


def test_a_deleted_segment_is_damaged(bench: Bench):
    (entry,) = bench.add(batch(0))
    entry.segment.path.unlink()
    assert bench.spool.read(entry) == Damaged(
        "segment trades-00000001.spool is missing, with 4 rows", ((1, NOW, NOW + 3), (2, NOW, NOW + 3))
    )
    bench.remove(entry)


def test_a_full_disk_is_a_retry(bench: Bench):
    (kept,) = bench.add(large(0, 1 << 20))
    with file_limit((1 << 20) + (1 << 19)), pytest.raises(Retry, match="File too large"):
        bench.add(large(1, 1 << 20))
    assert bench.errors["", "spool", "disk"] == 1
    assert bench.on_disk() == bench.spool.used_bytes == kept.size  # the part of the second batch was removed
    bench.add(large(2, 1 << 20))
    bench.open()
    names = [f"trades-0000000{number}.spool" for number in (1, 2)]
    expected = [from_spool(large(0, 1 << 20), names[0]), from_spool(large(2, 1 << 20), names[1])]
    assert [bench.spool.read(entry) for entry in bench.found["trades"]] == expected
    assert bench.errors["", "spool", "torn"] == 0


def test_other_files_are_left_alone(bench: Bench):
    (bench.path / "notes.txt").write_text("mine")
    bench.open()
    assert (bench.files(), bench.found) == (["notes.txt"], {})


@pytest.mark.parametrize("sync_seconds", [0, 1.0, None])
def test_tidy_and_close_write_to_disk_with_every_sync_policy(bench: Bench, sync_seconds: float | None):
    bench.open(sync_seconds=sync_seconds)
    bench.add(batch(0))
    bench.spool.tidy()
    bench.add(batch(10))
    bench.close()
    bench.open()
    assert [entry.rows for entry in bench.found["trades"]] == [4, 4]
