"""Pure: one module for each polled provider, which implements `ingest.polling.provider.Provider`."""
