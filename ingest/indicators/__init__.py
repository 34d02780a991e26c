"""Technical indicators: what there is, and their values over candles. Pure."""
