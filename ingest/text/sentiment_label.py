"""The mood of a text as a number from -1 (bad) to 1 (good), and the three words for it.

https://github.com/cjhutto/vaderSentiment#about-the-scoring has the thresholds. A pure module is given a `Score` with its options.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

Score = Callable[[str], str]  # digits; pure, and quick enough to be called in between
NEUTRAL_BELOW = Decimal("0.05")  # nearer to zero than this is neutral


def label_of(score: str) -> str:
    """positive, neutral or negative."""
    value = Decimal(score)
    return "positive" if value >= NEUTRAL_BELOW else "negative" if value <= -NEUTRAL_BELOW else "neutral"


def no_score(text: str) -> str:
    """What stands in the options where nobody gave a scorer."""
    raise TypeError(f"nobody said how to score {text!r}: PollOptions.score is missing")
