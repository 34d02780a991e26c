"""ingest: a daemon that stores market data in TimescaleDB. See README.md."""

__version__ = "0.1.0"
