"""The format of the spool: whole records are read, whatever is wrong around them."""

from __future__ import annotations

from ingest.pipeline import spool_segment
from ingest.pipeline.batch import Batch
from ingest.pipeline.copy_encoder import encoder
from ingest.pipeline.spool_segment import MAGIC, ForeignHead, Piece
from ingest.pipeline.time_ranges import merged, readable_spans, spans
from ingest.records import Candle
from ingest.tables import CANDLES, TRADES
from tests.support.batches import NOW, THREE, batch, from_spool, in_format, packed, trade


def unpacked(data: bytes) -> list[Batch]:
    pieces = [piece for piece in spool_segment.parse(data) if piece.state == "record"]
    return [spool_segment.unpack(piece.head, data[piece.body : piece.end], "here") for piece in pieces if piece.head]


def test_a_batch_is_read_as_it_was_written():
    assert unpacked(packed(*THREE)) == [from_spool(item, "here") for item in THREE]


def test_a_head_has_the_time_ranges_of_its_rows():
    (piece,) = spool_segment.parse(packed(batch(0)))
    assert piece.head is not None
    assert piece.head.spans == ((1, NOW, NOW + 2), (2, NOW + 1, NOW + 3))


def test_wherever_a_segment_is_cut_off_its_whole_records_are_read():
    data = packed(*THREE)
    ends = [len(packed(*THREE[:count])) for count in range(4)]
    for size in range(len(data)):
        pieces = list(spool_segment.parse(data[:size]))
        whole = sum(end <= size for end in ends) - 1
        assert [piece.end for piece in pieces if piece.state == "record"] == ends[1 : whole + 1]
        torn = size not in ends
        assert [piece.end for piece in pieces if piece.state != "record"] == [size] * torn
        if torn and size - ends[whole] < 18:
            assert pieces[-1].state == "torn"


def test_whichever_byte_is_flipped_only_its_record_is_lost():
    data = packed(*THREE)
    ends = [len(packed(*THREE[:count])) for count in range(4)]
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 0x20
        pieces = list(spool_segment.parse(bytes(flipped)))
        hit = sum(end <= position for end in ends) - 1
        expected = [("damaged" if index == hit else "record", ends[index], ends[index + 1]) for index in range(3)]
        assert [(piece.state, piece.offset, piece.end) for piece in pieces] == expected


def test_garbage_between_records_is_skipped():
    data = packed(batch(0)) + b"\xff\xff\xff" + packed(batch(10)) + MAGIC + b"\0" * 40
    assert unpacked(data) == [from_spool(batch(0), "here"), from_spool(batch(10), "here")]
    assert [piece.state for piece in spool_segment.parse(data)] == ["record", "damaged", "record", "damaged"]


def test_an_empty_segment_has_no_piece():
    assert list(spool_segment.parse(b"")) == []


def test_a_record_of_another_format_is_skipped_as_a_whole():
    other = in_format(2, packed(batch(0)))
    pieces = list(spool_segment.parse(packed(batch(10)) + other + packed(batch(20))))
    assert [piece.state for piece in pieces] == ["record", "foreign", "record"]
    assert (pieces[1].end - pieces[1].offset, pieces[1].format, pieces[1].foreign_head) == (len(other), 2, ForeignHead("trades", 4))


def test_the_head_of_another_format_may_be_unreadable():
    for head in (b"\x93\xa6trades\x04", b'{"lines":4}', b""):
        (piece,) = spool_segment.parse(in_format(9, packed(batch(0)), head))
        assert (piece.state, piece.format, piece.foreign_head) == ("foreign", 9, None)


def test_a_flipped_number_of_the_format_is_damage():
    data = bytearray(packed(batch(0)))
    data[len(MAGIC)] = 2
    assert list(spool_segment.parse(bytes(data))) == [Piece("damaged", 0, len(data))]


# --- spans --------------------------------------------------------------------------------------------------------------


def test_spans_are_found_with_the_time_in_another_column():
    bar = Candle(7, "1m", NOW, "1", "1", "1", "1", "1", None, None, None, None, None, None, 1, "ws", NOW)
    assert spans(CANDLES, encoder(CANDLES)(bar).encode()) == ((7, NOW, NOW),)


def test_a_time_that_no_calendar_has_is_in_no_span():
    rows = (trade(0), trade(2, time=10**18), trade(4), trade(6, time=10**18))
    assert spans(TRADES, "".join(map(encoder(TRADES), rows)).encode()) == ((1, NOW, NOW + 4),)


def test_spans_of_one_instrument_are_merged():
    assert merged([(1, 5, 6), (2, 1, 1), (1, 2, 3), (1, 4, 9)]) == ((1, 2, 9), (2, 1, 1))


def test_spans_of_damaged_rows_are_of_the_readable_and_plausible_ones():
    lines = [encoder(TRADES)(trade(number)) for number in range(6)]
    lines[2] = lines[2].replace("2026-", "9026-")  # a digit of a time
    lines[3] = lines[3].replace("2\t", "29999999999\t", 1)  # a digit of an instrument id
    lines[4] = lines[4].replace("\t", "", 1)
    data = b'\xff{"crc":1}' + "".join(lines).encode()
    assert readable_spans(TRADES, data, NOW - 5, NOW + 9) == ((1, NOW, NOW + 9), (2, NOW + 1, NOW + 5))
    assert readable_spans(TRADES, b"\0" * 100, 0, NOW) == ()
