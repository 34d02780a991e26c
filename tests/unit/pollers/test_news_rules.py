"""Topics, impact and relevance of an article by the rules, and the weights on the page about them."""

from __future__ import annotations

import pytest

from ingest.pollers._news_rules import AGGREGATOR, EXCHANGE, PUBLISHER, Credibility, Topic, Verdict, judge
from tests.support.paths import ROOT

PAGE = ROOT / "ingest/pollers/docs/news.md"


@pytest.mark.parametrize(
    ("title", "summary", "credibility", "verdict"),
    [
        # 20 + 40 for a word in the first half of the title + 40 for a coin in the title, times 90 %
        ("Bitcoin hacked, says nobody", "", PUBLISHER, Verdict(("security",), "critical", "0.90")),
        ("Bitcoin hacked, says nobody", "", AGGREGATOR, Verdict(("security",), "high", "0.70")),
        ("Bitcoin hacked, says nobody", "", EXCHANGE, Verdict(("security",), "critical", "1.00")),
        # 30 for a word in the second half of the title
        ("What everyone gets wrong about the SEC and ether", "", PUBLISHER, Verdict(("regulation",), "high", "0.72")),
        # 15 for a word in the summary, and the next lower level
        ("A quiet day", "A hacker took bitcoin", PUBLISHER, Verdict(("security",), "high", "0.45")),
        ("A quiet day", "An upgrade of Solana", PUBLISHER, Verdict(("technology",), "low", "0.45")),
        ("A quiet day", "", PUBLISHER, Verdict((), "low", "0.18")),
        # the strongest topic decides the level; all topics are listed, strongest first
        ("Fed rate cut, an exploit and a lawsuit", "", PUBLISHER, Verdict(("security", "regulation", "macro"), "critical", "0.54")),
        # only whole words, and abbreviations only in capitals
        ("A hackathon, sec by sec, etfs fed to banned wagons", "", PUBLISHER, Verdict(("regulation",), "high", "0.45")),
        ("shackled, urban, delisting's", "", PUBLISHER, Verdict(("delisting",), "high", "0.45")),
        ("BITCOIN HALVING TODAY", "", PUBLISHER, Verdict(("halving",), "high", "0.90")),
        ("$SEC is a token", "", PUBLISHER, Verdict((), "low", "0.54")),
    ],
)
def test_words_decide_topics_impact_and_relevance(title: str, summary: str, credibility: Credibility, verdict: Verdict) -> None:
    assert judge(title, summary, credibility) == verdict


def test_the_category_of_a_source_counts_like_the_first_half_of_the_title() -> None:
    verdict = judge("Notice", "", EXCHANGE, Topic("listing", "high", ""), ("HYPE",))
    assert verdict == Verdict(("listing",), "high", "1.00")


def test_the_page_has_the_weights() -> None:
    weights = [
        f"{kind} {credibility.weight} %"
        for kind, credibility in (("exchange", EXCHANGE), ("publisher", PUBLISHER), ("aggregator", AGGREGATOR))
    ]
    assert [weight for weight in weights if weight not in " ".join(PAGE.read_text().split())] == []
