"""Binance, spot."""
