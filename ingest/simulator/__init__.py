"""A simulated exchange on loopback: Binance's spot wire protocol, an oracle that knows every value sent, and faults on demand."""
