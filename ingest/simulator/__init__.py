"""A simulated exchange on loopback: Binance's spot protocol, an oracle of every value that it produced, and faults on demand."""
