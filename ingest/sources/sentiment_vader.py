"""Scores the sentiment of a text with VADER, a lexicon with rules for social media, and an overlay of words of crypto markets.

https://github.com/cjhutto/vaderSentiment#about-the-scoring. VADER alone scores "surges past $100k as ETFs see record inflows" as
0.0. `crypto_overlay.json` adds valences (-4 to 4) of words that its lexicon lacks, and of words with another meaning on a market.
The lexicon has single words in lower case, and for an emoji the words that describe it.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from msgspec.json import decode

from ingest.text.plain_text import plain_text, without_links

SCORED_CHARACTERS = 2000  # only the beginning: 40,000 characters take 20 times as long, for about the same score
_INVISIBLE = "\u200d\ufe0e\ufe0f"  # the joiner and the variation selectors beside an emoji


def score(text: str) -> str:
    """The score from -1 (negative) to 1 (positive), with four decimals; 0.0000 if no word is known. HTML and URLs do not count."""
    analyser, emoji = _analyser()
    words = without_links(plain_text(text)).translate(emoji)[:SCORED_CHARACTERS]
    return f"{analyser.polarity_scores(words)['compound'] + 0.0:.4f}"  # + 0.0 makes -0.0 positive


@cache
def _analyser() -> tuple[Any, dict[int, str]]:
    """The analyser, and the words of each emoji between spaces, because VADER joins them to the next word. Loaded once."""
    # imported only here: it takes 30 ms of CPU, which a daemon that scores no texts saves
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer  # type: ignore[import-untyped]  # noqa: PLC0415

    analyser = SentimentIntensityAnalyzer()
    analyser.lexicon |= decode(files("ingest.sources").joinpath("crypto_overlay.json").read_bytes(), type=dict[str, float])
    emoji = {ord(sign): f" {words} " for sign, words in analyser.emojis.items() if len(sign) == 1}
    return analyser, emoji | dict.fromkeys(map(ord, _INVISIBLE), " ")
