"""Deribit: perpetuals, futures, options and spot."""
