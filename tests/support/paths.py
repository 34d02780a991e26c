"""Where things are: the checkout, and the material beside it that is not part of the project."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
REAL = SHARED / "real"  # recorded payloads
DECLARED = SHARED / "platforms"  # what the platforms declare to read
