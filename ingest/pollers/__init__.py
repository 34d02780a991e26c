"""One pure file per polled provider; see `ingest.provider.Provider` for what it has."""
