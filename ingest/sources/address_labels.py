"""Reads labels of blockchain addresses from a file with one label a line: `bc1q...,binance`. A `#` begins a comment.

Ethereum addresses are compared without case. Case matters in Bitcoin addresses.
"""

from __future__ import annotations

from pathlib import Path

from ingest.errors import Stop

RIGHT = 'right would be "bc1qm34lsc65zpw79lxes69zkqmk6ee3ewf0j77s3h,binance"'
LONGEST = 100  # characters of an address or of a label: the most that the platforms' columns hold


def read_labels(path: Path) -> dict[str, str]:
    """The labels by address. Raises Stop if the file cannot be read, or with the number and text of a wrong line."""
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise Stop(f"labels {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Stop(f"labels {path}: not UTF-8: {error}") from error
    labels: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        address, _, label = (part.strip() for part in text.partition(","))
        address = address.lower() if address[:2].lower() == "0x" else address
        if not address or not label or "," in label or len(address) > LONGEST or len(label) > LONGEST:
            raise Stop(f"labels {path}: line {number}: '{line.strip()}' is not an address and a label; {RIGHT}")
        if labels.setdefault(address, label) != label:
            raise Stop(f"labels {path}: line {number}: '{address}' is '{labels[address]}' already, and cannot be '{label}' as well")
    return labels
