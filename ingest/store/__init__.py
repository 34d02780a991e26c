"""The database: writing batches, migrations, coverage and audit, backfill jobs, leases, policies, and derived data."""
