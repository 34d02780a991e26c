"""Exchanges are found in the folder of packages and among entry points of other distributions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from ingest import registry
from ingest.errors import Stop

FOLDER = Path(registry.__file__).parent / "exchanges"
OURS = {
    path.parent.name: import_module(f"ingest.exchanges.{path.parent.name}.exchange")
    for path in sorted(FOLDER.glob("*/exchange.py"))
}

Offer = Callable[..., None]


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Offer]:
    """Install a distribution with a module of this text and its entry point in the group of exchanges."""

    def install(text: str, points_at: str = "tiny_exchange", name: str = "tiny") -> None:
        (tmp_path / "tiny_exchange.py").write_text(text)
        info = tmp_path / "tiny-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[ingest.exchanges]\n{name} = {points_at}\n")
        monkeypatch.syspath_prepend(tmp_path)

    registry.exchanges.cache_clear()
    yield install
    registry.exchanges.cache_clear()
    sys.modules.pop("tiny_exchange", None)


def test_exchanges_of_the_folder() -> None:
    registry.exchanges.cache_clear()
    assert registry.exchanges() == OURS


def test_a_module_is_imported_at_its_first_use(offer: Offer) -> None:
    offer('NAME = "tiny"\n')
    found = registry.exchanges()
    assert ("tiny" in found, "nothing" in found, len(found)) == (True, False, len(OURS) + 1)
    assert "tiny_exchange" not in sys.modules
    assert found["tiny"] is sys.modules["tiny_exchange"]
    assert found.get("nothing") is None


def test_an_exchange_of_another_package(offer: Offer) -> None:
    offer('NAME = "tiny"\nCHANNELS = ("trades",)\n')
    found = registry.exchanges()
    assert list(found) == [*OURS, "tiny"]
    assert (found["tiny"].NAME, found["tiny"].CHANNELS) == ("tiny", ("trades",))


def test_two_modules_of_one_name_are_refused(offer: Offer) -> None:
    offer('NAME = "kraken"\n', name="kraken")
    with pytest.raises(Stop) as stop:
        registry.exchanges()
    message = "two modules are named 'kraken' in the group ingest.exchanges: ingest.exchanges.kraken.exchange, tiny_exchange"
    assert str(stop.value) == message


@pytest.mark.parametrize(
    ("text", "points_at", "message"),
    [
        ("import nowhere_to_be_found", "tiny_exchange", "No module named 'nowhere_to_be_found'"),
        ("", "tiny_exchange:exchange", "module 'tiny_exchange' has no attribute 'exchange'"),
        ("", "tiny_exchange", "its NAME is None; right would be 'tiny'"),
        ('NAME = "small"', "tiny_exchange", "its NAME is 'small'; right would be 'tiny'"),
    ],
)
def test_the_message_names_an_entry_point_that_does_not_load(offer: Offer, text: str, points_at: str, message: str) -> None:
    offer(text, points_at)
    with pytest.raises(Stop) as stop:
        registry.exchanges()["tiny"]
    assert str(stop.value) == f"entry point 'tiny = {points_at}' of the group ingest.exchanges: {message}"
