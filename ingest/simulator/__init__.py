"""A simulated exchange on loopback: Binance's spot wire protocol, an oracle of all that it said, and faults on demand."""
