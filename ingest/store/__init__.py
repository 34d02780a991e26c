"""Database access: batch_writer.py, copy.py and pool.py write batches; the other modules keep the ledger, jobs and derived data."""
