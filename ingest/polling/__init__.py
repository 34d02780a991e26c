"""Pure: the contract of a polled provider, and the parts that providers share."""
