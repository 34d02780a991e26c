"""Pure: one file per polled provider, with the contract of `ingest.polling.provider.Provider`."""
