"""Exchanges as the tests play them: their sessions, frames and answers."""
