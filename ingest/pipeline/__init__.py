"""From records to committed rows: bounded queues, batches as COPY text, writers, and a spool on disk."""
