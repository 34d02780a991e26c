"""Everything that speaks SQL. The way of a batch: pool.py, ladder.py, copy.py; the rest are the database's keepers."""
