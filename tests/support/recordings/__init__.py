"""Recorded traffic, parsed independently of the tested code, and replayed to a daemon."""
