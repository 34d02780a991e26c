"""What the exchanges share: order books, candles, channels, subscriptions, REST answers, checked values. Pure."""
