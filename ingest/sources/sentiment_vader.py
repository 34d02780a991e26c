"""The sentiment of a text: VADER, a lexicon with rules for social media, and an overlay of the words of crypto markets.

https://github.com/cjhutto/vaderSentiment#about-the-scoring. VADER alone scores "surges past $100k as ETFs see record inflows" as
0.0; `crypto_overlay.json` adds valences (-4 to 4) of words that it lacks, and of words that mean something else on a market. The
lexicon has single words in lower case, and for an emoji the words that describe it.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from msgspec.json import decode
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer  # type: ignore[import-untyped]

from ingest.text.plain_text import plain_text, without_links

SCORED_CHARACTERS = 2000  # from the beginning: a text of 40,000 takes 20 times as long, for about the same score
_INVISIBLE = "\u200d\ufe0e\ufe0f"  # the joiner and the variation selectors beside an emoji


def score(text: str) -> str:
    """From -1 (negative) to 1 (positive), with four decimals; 0.0000 where no word is known. HTML and URLs do not count."""
    analyser, emoji = _analyser()
    words = without_links(plain_text(text)).translate(emoji)[:SCORED_CHARACTERS]
    return f"{analyser.polarity_scores(words)['compound'] + 0.0:.4f}"  # + 0.0 makes -0.0 positive


@cache
def _analyser() -> tuple[Any, dict[int, str]]:
    """The analyser, loaded once (20 ms), and the words of each emoji between spaces: VADER joins them to the next word."""
    analyser = SentimentIntensityAnalyzer()
    analyser.lexicon |= decode(files("ingest.sources").joinpath("crypto_overlay.json").read_bytes(), type=dict[str, float])
    emoji = {ord(one): f" {words} " for one, words in analyser.emojis.items() if len(one) == 1}
    return analyser, emoji | dict.fromkeys(map(ord, _INVISIBLE), " ")
