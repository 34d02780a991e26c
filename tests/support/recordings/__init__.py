"""Recorded traffic: read without the code that is tested, and replayed to a session or a daemon."""
