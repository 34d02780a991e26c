"""The mood of a text: VADER, a lexicon with rules for social media, and an overlay of the words of crypto markets.

https://github.com/cjhutto/vaderSentiment#about-the-scoring. To plain VADER "surges past $100k as ETFs see record
inflows" is 0.0; `crypto_overlay.json` has the valences (-4 to 4) that it lacks, and some that mean something else on a market.
The rule one would get wrong: its lexicon knows lower-case single words, and an emoji only as the words that describe it.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from msgspec.json import decode
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer  # type: ignore[import-untyped]

from ingest.text.plain_text import plain_text, without_links

SCORED_CHARACTERS = 2000  # of the beginning: a text of 40,000 would take 20 times as long and say little more
_INVISIBLE = "\u200d\ufe0e\ufe0f"  # joiner and variation selectors, which stand between an emoji and its neighbours


def score(text: str) -> str:
    """From -1 (bad) to 1 (good), with four decimals; 0.0000 where no word is known. HTML and addresses do not count."""
    analyser, emoji = _analyser()
    words = without_links(plain_text(text)).translate(emoji)[:SCORED_CHARACTERS]
    return f"{analyser.polarity_scores(words)['compound'] + 0.0:.4f}"  # + 0.0: no minus before zero


@cache
def _analyser() -> tuple[Any, dict[int, str]]:
    """The analyser, loaded once (20 ms), and the words of each emoji with room around them: VADER joins it to what follows."""
    analyser = SentimentIntensityAnalyzer()
    analyser.lexicon |= decode(files("ingest.sources").joinpath("crypto_overlay.json").read_bytes(), type=dict[str, float])
    emoji = {ord(one): f" {words} " for one, words in analyser.emojis.items() if len(one) == 1}
    return analyser, emoji | dict.fromkeys(map(ord, _INVISIBLE), " ")
