"""Records of the channel previews of Telegram. tests/support/social.py names the source of the page."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from ingest.errors import Reject
from ingest.pollers import telegram
from ingest.polling.db_queries import Filtered
from ingest.protocol.decode import Malformed
from ingest.records import SECOND, SentimentPost
from tests.support.social import NOW, OPTIONS, TELEGRAM, TELEGRAM_TEXT, paths, turn


def test_a_message_of_the_preview_of_telegram() -> None:
    page = TELEGRAM.replace("AI Text Editor.", "Bitcoin.")
    requests, records, cursor = turn(telegram.poll(replace(OPTIONS, channels=("telegram",)), ""), page.encode())
    assert paths(requests) == ["/s/telegram"]
    assert records == [
        SentimentPost(
            platform="telegram",
            post_id="telegram/435",
            symbol="BTC",
            time=int(datetime(2026, 4, 9, 7, 1, 44, tzinfo=UTC).timestamp()) * SECOND,
            text=TELEGRAM_TEXT.replace("AI Text Editor.", "Bitcoin."),
            author="telegram",
            score="0.0000",
            label="neutral",
            engagement=None,
            received_at=NOW,
            followers=9_780_000,
        )
    ]
    assert turn(telegram.poll(replace(OPTIONS, channels=("telegram",)), cursor), page.encode())[1] == records


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("AI Text Editor.", "Nothing.", [Filtered("symbol", 1)]),
        ('<div class="tgme_widget_message_bubble">', '<div class="tgme_widget_message_forwarded_from">', [Filtered("repost", 1)]),
        (
            "tgme_widget_message_text js-message_text",
            "tgme_widget_message_text js-message_reply_text",
            [],
        ),  # a picture or a reply without a text of its own
    ],
)
def test_messages_without_a_text_of_the_channel_are_left_out(old: str, new: str, expected: list[Any]) -> None:
    options = replace(OPTIONS, channels=("telegram",))
    assert turn(telegram.poll(options, ""), TELEGRAM.replace(old, new).encode())[1] == expected


def test_reactions_are_the_engagement_and_a_text_may_be_in_two_elements() -> None:
    box = '<div class="tgme_widget_message_text js-message_text" dir="auto">'
    reactions = '<span class="tgme_reaction"><i class="emoji"><b>👍</b></i>1.2K</span><span class="tgme_reaction">57</span>'
    page = TELEGRAM.replace(box, box + box + "Bitcoin: ").replace(
        'compact js-message_footer">', f'compact js-message_footer">{reactions}'
    )
    _, (record,), _ = turn(telegram.poll(replace(OPTIONS, channels=("telegram",)), ""), page.encode())
    assert (record.engagement, record.text) == (1257, "Bitcoin: " + TELEGRAM_TEXT)


SECOND_MESSAGE = """<div data-post="telegram/436" class="tgme_widget_message js-widget_message">
<div dir="auto" class="js-message_text tgme_widget_message_text">Ether <div>quoted <div>x</div> text</div> and the end</div>
<a class="tgme_widget_message_date" href="https://t.me/telegram/436"><time class="time" datetime="2026-04-09T08:00:00+00:00">8:00
</time></a></div>"""


def messages(page: str) -> tuple[list[tuple[str, str]], list[Malformed]]:
    records = turn(telegram.poll(replace(OPTIONS, channels=("telegram",)), ""), page.encode())[1]
    posts = [(record.post_id, record.text) for record in records if isinstance(record, SentimentPost)]
    return posts, [record for record in records if isinstance(record, Malformed)]


def test_a_text_has_elements_and_attributes_come_in_any_order() -> None:
    page = TELEGRAM.replace("</section>", SECOND_MESSAGE + "</section>").replace("AI Text Editor.", "Bitcoin.")
    assert messages(page)[0][1] == ("telegram/436", "Ether quoted x text and the end")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tgme_widget_message_date", "date", "'' is not a time"),
        ("2026-04-09T07:01:44+00:00", "07:01", "'07:01' is not a time"),
        ('data-post="telegram/435"', "data-post=''", "is not an id"),
        ('data-post="telegram/435"', f"data-post='{'9' * 501}'", "is not an id"),
    ],
)
def test_a_malformed_message_of_telegram_costs_itself(old: str, new: str, message: str) -> None:
    assert old in TELEGRAM
    page = TELEGRAM.replace(old, new).replace("</section>", SECOND_MESSAGE + "</section>")
    posts, (bad,) = messages(page)
    assert posts == [("telegram/436", "Ether quoted x text and the end")]
    assert message in bad.message
    assert bad.payload.startswith(b'<div class="tgme_widget_message ')


def test_a_message_whose_elements_are_not_closed_costs_no_other() -> None:
    page = TELEGRAM.replace("</div>", "").replace("AI Text Editor.", "Bitcoin.") + "<div>" * 200 + SECOND_MESSAGE
    posts, bad = messages(page)
    assert ([native_id for native_id, _ in posts], bad) == (["telegram/435", "telegram/436"], [])


def test_a_channel_without_messages_has_no_posts() -> None:
    header = TELEGRAM[: TELEGRAM.index("<section")]
    assert messages(header) == ([], [])
    assert messages(header + '<div data-post=">') == ([], [])


@pytest.mark.parametrize(
    "piece", ['<span class="tgme_reaction">', '<div class="tgme_widget_message ', '<div data-post="x">', "<", "<!--"]
)
def test_a_page_of_telegram_is_read_in_linear_time(piece: str) -> None:
    """60 kB of unclosed tags took more than a second for regular expressions. The bound is far above what is measured (0.3 s)."""
    start = time.process_time()
    for size in (60_000, 1_000_000):
        page = TELEGRAM + piece * (size // len(piece))
        with suppress(Reject):
            messages(page)
    assert time.process_time() - start < 3
