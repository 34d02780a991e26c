"""The sentiment of a text: examples of VADER, real headlines, and words of crypto markets."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from ingest.polling.provider import PollOptions
from ingest.sources import sentiment_vader
from ingest.sources.sentiment_vader import score
from ingest.text.plain_text import plain_text
from ingest.text.sentiment_label import label_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [  # https://github.com/cjhutto/vaderSentiment#code-examples
        ("VADER is smart, handsome, and funny.", "0.8316"),
        ("VADER is not smart, handsome, nor funny.", "-0.7424"),
        ("At least it isn't a horrible book.", "0.4310"),
        ("Today SUX!", "-0.5461"),
        ("Make sure you :) or :D today!", "0.8633"),
        ("", "0.0000"),
        ("The coin is a coin", "0.0000"),
    ],
)
def test_the_score_is_that_of_vader(text: str, expected: str) -> None:
    assert score(text) == expected


@pytest.mark.parametrize(
    ("text", "plain", "expected"),
    [
        ("Bitcoin surges past $100k as ETFs see record inflows", 0.0, "0.7351"),
        ("BTC to the moon 🚀 HODL", 0.0, "0.8331"),
        ("Market Tanks 50%", 0.0, "-0.5106"),
    ],
)
def test_words_of_crypto_markets_count(text: str, plain: float, expected: str) -> None:
    assert (SentimentIntensityAnalyzer().polarity_scores(text)["compound"], score(text)) == (plain, expected)


def test_the_overlay_equals_the_evaluated_one_and_has_single_lower_case_words(real: Path) -> None:
    overlay = json.loads((Path(sentiment_vader.__file__).parent / "crypto_overlay.json").read_text())
    assert overlay == json.loads((real / "crypto_vader_overlay.json").read_text())
    assert [word for word, valence in overlay.items() if word != word.lower() or len(word.split()) != 1 or abs(valence) > 4] == []


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("<p>A good <b>day</b></p><p>indeed</p>", "A good day indeed"),
        ("A good day https://terrible.example/awful-scam?bad=1 indeed", "A good day indeed"),
        ("moon🚀bitcoin", "moon rocket bitcoin"),  # VADER alone reads "rocketbitcoin"
        ("❤\ufe0f", "red heart"),
        ("good\u200d🚀", "good rocket"),
        ("Tom &amp; Jerry <3", "Tom & Jerry <3"),
    ],
)
def test_markup_links_and_joined_emoji_do_not_change_the_score(text: str, same: str) -> None:
    assert score(text) == score(same) != "0.0000"


def test_only_the_beginning_of_a_long_text_counts() -> None:
    assert score("good " * 8000) == score("good " * (sentiment_vader.SCORED_CHARACTERS // 5))


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("0.0500", "positive"),
        ("0.0499", "neutral"),
        ("0.0000", "neutral"),
        ("-0.0499", "neutral"),
        ("-0.0500", "negative"),
        ("1", "positive"),
    ],
)
def test_a_label_has_its_thresholds(value: str, label: str) -> None:
    assert label_of(value) == label


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<p>One<br>two &lt;three&gt;</p><!-- SC_ON -->", "One two <three>"),
        ('<a href="x"><span>https://</span><span>a.example/</span></a> #<span>btc</span>', "https://a.example/ #btc"),
        ("a < b > c <3", "a < b > c <3"),
        ("<!-- never ends", ""),
        ('<img alt="BTC > ETH" src="x">Hello', "Hello"),
        ('it\'s <b title="one">here</b>', "it's here"),
        ("<script>var a=1;</script>Hi<style>p{}</style>", "Hi"),
        ("", ""),
    ],
)
def test_html_becomes_text(source: str, text: str) -> None:
    assert plain_text(source) == text


def test_real_headlines_are_scored_from_minus_one_to_one(real: Path) -> None:
    items = ElementTree.parse(real / "news_rss/coindesk_2023-03-13.xml").iter("item")
    scores = [score(item.findtext("title") or "") for item in items]
    labels = [label_of(value) for value in scores]
    assert len(scores) == 50
    assert all(-1 <= float(value) <= 1 for value in scores)
    assert {"positive", "neutral", "negative"} == set(labels)


def test_a_missing_scorer_raises_an_error_that_names_it() -> None:
    with pytest.raises(TypeError, match=r"PollOptions\.score is missing"):
        PollOptions(base_url="http://x").score("good")
