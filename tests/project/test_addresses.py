"""Every Ethereum address in the product has a valid checksum of EIP-55, which reveals a mistyped digit.

https://eips.ethereum.org/EIPS/eip-55. An address in lower case has no checksum, so the product has no address in lower case.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from Crypto.Hash import keccak

from ingest.pollers import moralis, whale_ethereum
from tests.support.paths import ROOT

ADDRESS = re.compile(r"(?<![0-9A-Za-z])0x[0-9A-Fa-f]{40}(?![0-9A-Za-z])")
TEXT = {".py", ".md", ".sql", ".sh", ".toml", ".json", ".yml", ".yaml", ".service"}
PRODUCT = [ROOT / "README.md", *(path for room in ("ingest", "schema", "deploy") for path in sorted((ROOT / room).rglob("*")))]


def checksummed(address: str) -> str:
    """The address in the spelling of EIP-55: a letter is a capital where the hash of the lower case has 8 or more."""
    digits = address[2:].lower()
    hashed = keccak.new(digest_bits=256, data=digits.encode()).hexdigest()
    return "0x" + "".join(digit.upper() if int(nibble, 16) >= 8 else digit for digit, nibble in zip(digits, hashed, strict=False))


def addresses(path: Path) -> list[str]:
    return ADDRESS.findall(path.read_text())


@pytest.mark.parametrize("path", ["ingest/pollers/docs/whales.md", "ingest/pollers/moralis.py", "ingest/pollers/whale_ethereum.py"])
def test_a_file_of_the_product_has_addresses(path: str) -> None:
    assert addresses(ROOT / path) != []


def test_addresses_have_their_checksum() -> None:
    found = {path: addresses(path) for path in PRODUCT if path.suffix in TEXT}
    assert found == {path: list(map(checksummed, written)) for path, written in found.items()}


def test_capitals_in_an_address_of_the_tests_are_right() -> None:
    """Tests also have addresses in lower case, as the daemon stores them; these are not checked."""
    found = {path: [text for text in addresses(path) if text != text.lower()] for path in (ROOT / "tests").rglob("*.py")}
    assert found == {path: list(map(checksummed, written)) for path, written in found.items()}


def test_two_pollers_have_the_same_contract_for_a_symbol() -> None:
    tokens = {symbol: contract.partition("/")[0] for symbol, contract in whale_ethereum.ASSETS.items()}
    assert {symbol: tokens.get(symbol) for symbol in moralis.ASSETS} == moralis.ASSETS


@pytest.mark.parametrize(
    "address",
    [  # the examples of EIP-55
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ],
)
def test_the_checksum(address: str) -> None:
    assert checksummed(address) == address


def test_a_mistyped_digit_changes_the_checksum() -> None:
    mistyped = moralis.ASSETS["LINK"].replace("8264", "8364")
    assert checksummed(mistyped) != mistyped
