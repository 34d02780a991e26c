"""What an article is about, how much may follow from it, and how much it is about coins: rules that a reader can check.

`TOPICS` says which words make which topic and level; `ingest/pollers/docs/news.md` shows them. A word in the title has
the topic's level, one that stands only in the summary or a label has the next lower, and an aggregator's, which nobody has checked,
is high at most. Words count in any case; what means something else without its capitals (SEC, ETF, Fed) is written in them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from msgspec import Struct

from ingest.text.coin_mentions import symbols_of

LEVELS = ("low", "medium", "high", "critical")


class Standing(Struct, frozen=True):
    """Who says it: the percentage of an article's relevance that counts, and the highest impact that a headline of it may have."""

    weight: int
    highest: str = "critical"


EXCHANGE = Standing(100)  # says it of itself
PUBLISHER = Standing(90)
AGGREGATOR = Standing(70, highest="high")


class Topic(Struct, frozen=True):
    """One row of the table: the topic, its level, and the words that make it, between commas."""

    name: str
    level: str
    words: str


TOPICS = (
    Topic(
        "security",
        "critical",
        "hack, hacks, hacked, hacker, hackers, exploit, exploits, exploited, heist, stolen, drained, rug pull",
    ),
    Topic("insolvency", "critical", "insolvent, insolvency, bankrupt, bankruptcy, halts withdrawals, suspends withdrawals"),
    Topic("depeg", "critical", "depeg, depegs, depegged, loses peg"),
    Topic("regulation", "high", "SEC, CFTC, lawsuit, sues, sued, indicted, charged with, sanctions, sanctioned, ban, bans, banned"),
    Topic("etf", "high", "ETF, ETFs"),
    Topic("listing", "high", "listing, will list, to list"),
    Topic("delisting", "high", "delisting, delist, delists, delisted"),
    Topic("halving", "high", "halving"),
    Topic("regulation", "medium", "regulation, regulations, regulator, regulators, regulatory, MiCA, Senate, Congress"),
    Topic("macro", "medium", "Fed, FOMC, CPI, inflation, interest rate, interest rates, rate cut, rate cuts, rate hike, tariffs"),
    Topic("technology", "medium", "upgrade, upgrades, fork, mainnet, outage, outages"),
    Topic("business", "medium", "partnership, partners with, acquires, acquisition, merger, IPO, raises"),
    Topic("market", "medium", "liquidations, liquidated, all-time high, record high, crash, crashes, plunges, surges"),
)


class Verdict(Struct, frozen=True):
    """Topics, strongest first; impact low to critical; relevance from 0 to 1 with two digits."""

    topics: tuple[str, ...]
    impact: str
    relevance: str


def judge(title: str, summary: str, standing: Standing, known: Topic | None = None, coins: tuple[str, ...] = ()) -> Verdict:
    """By the table; `summary` is with the labels, `known` the topic and `coins` those that the source itself files it under."""
    stated = [(known.name, LEVELS.index(known.level))] if known else []
    found = sorted([*stated, *_found(title, summary)], key=lambda one: -one[1])
    level = min(max((level for _, level in found), default=0), LEVELS.index(standing.highest))
    points = 20 + (40 if known else _points(title, summary, _worded)) + (40 if coins else _points(title, summary, symbols_of))
    hundredths = points * standing.weight // 100
    return Verdict(tuple(dict.fromkeys(name for name, _ in found)), LEVELS[level], f"{hundredths // 100}.{hundredths % 100:02d}")


def _found(title: str, summary: str) -> Iterator[tuple[str, int]]:
    """(topic, level) of every row of the table of which a word stands in the article."""
    for topic, pattern in _PATTERNS:
        level = LEVELS.index(topic.level)
        if pattern.search(title):
            yield topic.name, level
        elif pattern.search(summary):
            yield topic.name, level - 1


def _worded(text: str) -> bool:
    return any(pattern.search(text) for _, pattern in _PATTERNS)


def _points(title: str, summary: str, names: Callable[[str], object]) -> int:
    """40 for what the first half of the title names, 30 for the rest of it, 15 for the summary."""
    words = title.split()
    if names(" ".join(words[: (len(words) + 1) // 2])):
        return 40
    return 30 if names(title) else 15 if names(summary) else 0


def _pattern(words: list[str]) -> re.Pattern[str]:
    """A word that has a capital counts only as it is written."""
    each = (f"(?i:{re.escape(word)})" if word.islower() else re.escape(word) for word in words)
    return re.compile(rf"(?<![\w$])(?:{'|'.join(each)})(?!\w)")


_PATTERNS = tuple((topic, _pattern(topic.words.split(", "))) for topic in TOPICS)
