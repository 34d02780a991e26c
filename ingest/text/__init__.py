"""Pure: processes the text of posts and articles: plain text, coin mentions, sentiment labels, XML."""
