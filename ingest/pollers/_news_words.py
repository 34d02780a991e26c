"""How much may follow from a headline: rules of words that a reader can check, not a judgement."""

from __future__ import annotations

import re

# the first level of which a word stands in the text; without any of them, low
_IMPACTS = {
    "critical": ("hack", "hacked", "hacker", "exploit", "exploited", "heist", "insolvency", "bankruptcy", "depeg"),
    "high": ("etf", "sec", "listing", "delisting", "lawsuit", "halving", "ban", "sanctions"),
    "medium": ("fed", "regulation", "regulators", "upgrade", "fork", "partnership", "outage"),
}


def impact_of(text: str) -> str:
    """low, medium, high or critical."""
    words = set(re.findall(r"[a-z]+", text.lower()))
    return next((level for level, marks in _IMPACTS.items() if words.intersection(marks)), "low")
