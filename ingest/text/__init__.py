"""Pure: text of other people: plain text, coin mentions, sentiment, XML."""
