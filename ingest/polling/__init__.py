"""Pure: what a polled provider is, and the parts that providers share."""
