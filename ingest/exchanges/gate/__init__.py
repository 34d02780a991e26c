"""Gate, spot."""
