"""Rules for the topics, the impact and the relevance of an article.

`TOPICS` maps words to a topic and its level; `ingest/pollers/docs/news.md` shows them. A word in the title gives the level of the
topic; a word that is only in the summary or a label gives the next lower level. The impact of an aggregator's article, which no
editor has checked, is at most high. Words match in any case, except those with a capital in the table (SEC, ETF, Fed), which mean
something else in lower case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from msgspec import Struct

from ingest.text.coin_mentions import symbols_of

LEVELS = ("low", "medium", "high", "critical")


class Credibility(Struct, frozen=True):
    """The weight of a source, in percent of an article's relevance, and the highest impact that its articles may have."""

    weight: int
    max_impact: str = "critical"


EXCHANGE = Credibility(100)  # announces its own actions
PUBLISHER = Credibility(90)
AGGREGATOR = Credibility(70, max_impact="high")


class Topic(Struct, frozen=True):
    """One row of the table: the topic, its level, and the words for it, separated by commas."""

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
    """The topics, strongest first; the impact, low to critical; the relevance, from 0 to 1 with two decimals."""

    topics: tuple[str, ...]
    impact: str
    relevance: str


def judge(title: str, summary: str, credibility: Credibility, topic: Topic | None = None, coins: tuple[str, ...] = ()) -> Verdict:
    """Apply the table. `summary` includes the labels; `topic` and `coins` are those that the source assigns."""
    given = [(topic.name, LEVELS.index(topic.level))] if topic else []
    found = sorted([*given, *_found(title, summary)], key=lambda topic_and_level: -topic_and_level[1])
    level = min(max((level for _, level in found), default=0), LEVELS.index(credibility.max_impact))
    points = 20 + (40 if topic else _points(title, summary, _has_topic)) + (40 if coins else _points(title, summary, symbols_of))
    hundredths = points * credibility.weight // 100
    return Verdict(tuple(dict.fromkeys(name for name, _ in found)), LEVELS[level], f"{hundredths // 100}.{hundredths % 100:02d}")


def _found(title: str, summary: str) -> Iterator[tuple[str, int]]:
    """The topic and level of every row of the table with a word in the article."""
    for topic, pattern in _PATTERNS:
        level = LEVELS.index(topic.level)
        if pattern.search(title):
            yield topic.name, level
        elif pattern.search(summary):
            yield topic.name, level - 1


def _has_topic(text: str) -> bool:
    return any(pattern.search(text) for _, pattern in _PATTERNS)


def _points(title: str, summary: str, find: Callable[[str], object]) -> int:
    """40 points for a match in the first half of the title, 30 in the rest of the title, 15 in the summary."""
    words = title.split()
    if find(" ".join(words[: (len(words) + 1) // 2])):
        return 40
    return 30 if find(title) else 15 if find(summary) else 0


def _pattern(words: list[str]) -> re.Pattern[str]:
    """A pattern for the words; a word with a capital matches only as it is written."""
    each = (f"(?i:{re.escape(word)})" if word.islower() else re.escape(word) for word in words)
    return re.compile(rf"(?<![\w$])(?:{'|'.join(each)})(?!\w)")


_PATTERNS = tuple((topic, _pattern(topic.words.split(", "))) for topic in TOPICS)
