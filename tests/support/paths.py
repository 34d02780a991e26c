"""Paths of the checkout, and of material beside it that is not part of the project."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
REAL = SHARED / "real"  # recorded payloads
DECLARED = SHARED / "platforms"  # the queries and columns that the platforms use
