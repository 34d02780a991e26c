"""Pure: the contract of a polled provider, and what providers share."""
