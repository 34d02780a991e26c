"""Coinbase Exchange, spot."""
