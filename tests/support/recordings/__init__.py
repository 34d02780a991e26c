"""Recorded traffic, read independently of the code that is tested, and replayed to a daemon."""
