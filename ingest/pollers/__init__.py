"""One pure file per polled provider; see `ingest.polling.provider.Provider` for what it has."""
