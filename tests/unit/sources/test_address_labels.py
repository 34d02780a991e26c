"""Labels of addresses: the file format, and messages that name the wrong line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.errors import Stop
from ingest.sources.address_labels import read_labels


def test_a_line_is_an_address_and_its_label(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(
        "# exchanges\n\n"
        "bc1qm34lsc65zpw79lxes69zkqmk6ee3ewf0j77s3h, binance  # cold\n"
        "0x28C6c06298d514Db089934071355E5743bf21d60,binance\n"
        "0x28c6c06298d514db089934071355e5743bf21d60,binance\n"
        "1LQoWist8KkaUXSPKZHNvEyfrEkPHzSsCd,huobi\n"
    )
    assert read_labels(path) == {
        "bc1qm34lsc65zpw79lxes69zkqmk6ee3ewf0j77s3h": "binance",
        "0x28c6c06298d514db089934071355e5743bf21d60": "binance",
        "1LQoWist8KkaUXSPKZHNvEyfrEkPHzSsCd": "huobi",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a,b\nbinance\n", "line 2: 'binance' is not an address and a label; right would be \"bc1q"),
        (b"a,\n", "line 1: 'a,' is not an address"),
        (b",b\n", "line 1: ',b' is not an address"),
        (b"a,b,c\n", "line 1: 'a,b,c' is not an address"),
        (b"a," + b"b" * 101, "is not an address and a label"),
        (b"a,b\n\na,c\n", "line 3: 'a' is 'b' already, and cannot be 'c' as well"),
        (b"\xff", "not UTF-8"),
        (None, "No such file"),
    ],
)
def test_the_message_of_a_wrong_file_names_the_line(tmp_path: Path, text: bytes | None, message: str) -> None:
    path = tmp_path / "labels.csv"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(Stop) as stop:
        read_labels(path)
    assert f"labels {path}: " in str(stop.value)
    assert message in str(stop.value)
