"""The parts that exchanges share: order books, candles, channels, subscriptions, REST responses, checked values. Pure."""
