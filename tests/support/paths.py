"""The checkout, and the folder beside it with payloads and declarations that are not part of the project."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
REAL = SHARED / "real"  # recorded payloads
DECLARED = SHARED / "platforms"  # the platforms' own CREATE TABLE statements and queries
