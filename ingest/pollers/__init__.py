"""One pure file per polled provider; see `ingest.flow.Poller` for what it has."""
