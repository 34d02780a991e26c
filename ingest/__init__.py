"""ingest: a daemon that keeps a TimescaleDB full of market data. See README.md."""

__version__ = "0.1.0"
