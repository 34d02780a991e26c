"""OKX v5, spot."""
