"""Pure: technical indicators, their names and their values over candles."""
