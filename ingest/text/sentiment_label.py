"""The sentiment of a text: a score from -1 (negative) to 1 (positive), and one of three labels.

https://github.com/cjhutto/vaderSentiment#about-the-scoring defines the thresholds. A pure module receives its scorer in
`PollOptions.score`.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

Score = Callable[[str], str]  # text to digits; pure, and fast enough for the event loop
NEUTRAL_BELOW = Decimal("0.05")  # a score nearer to zero is neutral


def label_of(score: str) -> str:
    """The label of a score (digits): positive, neutral or negative."""
    value = Decimal(score)
    return "positive" if value >= NEUTRAL_BELOW else "negative" if value <= -NEUTRAL_BELOW else "neutral"


def no_score(text: str) -> str:
    """The default of `PollOptions.score`. Always raises TypeError."""
    raise TypeError(f"no scorer for {text!r}: PollOptions.score is missing")
