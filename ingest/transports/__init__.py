"""The ways in: one websocket life, one HTTP path, and what keeps both polite."""
