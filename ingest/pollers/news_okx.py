"""OKX's announcements. https://www.okx.com/docs-v5/en/#announcement-get-announcements

The API returns announcements of all types, newest first, twenty a page. `pTime` is the time of publication, `businessPTime` the
time that the page shows. `Accept-Language` selects English; without it the language depends on the IP address. An error has status
200 and a `code` other than "0". The cursor is the newest `pTime`; after a pause the pages are read back to it, at most five.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Raw, Struct
from msgspec.json import Decoder

from ingest.errors import Reject
from ingest.pollers._news_article import SLICE, ArticleFields, Source, article
from ingest.pollers._news_rules import EXCHANGE, Topic
from ingest.polling.elements import bounded, elements, sliced, split
from ingest.polling.provider import Plan, Poll, PollOptions, decoded
from ingest.protocol.decode import UNREADABLE, Malformed, malformed
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import News
from ingest.text.coin_mentions import listed_symbols

NAME = "news_okx"
TABLES = ("news",)
PLANS = {
    "keyless": Plan(
        base_url="https://www.okx.com",
        per_minute=60,
        interval=300,
        requests=1,
        terms="https://www.okx.com/help/terms-of-service: titles and links of public announcements; the text is OKX's",
    )
}
ASSETS: dict[str, str] = {}
PAGES = 5  # the most pages of a turn
TOPICS = {
    "announcements-new-listings": Topic("listing", "high", ""),
    "announcements-delistings": Topic("delisting", "high", ""),
}


class Page(Struct, rename="camel"):
    details: list[Raw]
    total_page: str = "1"


class Answer(Struct):
    code: str
    msg: str = ""
    data: list[Raw] = []


class Announcement(Struct, rename="camel"):
    """One announcement. `p_time` is in milliseconds, as digits."""

    ann_type: str
    title: str
    url: str
    p_time: str


_ANSWER, _PAGE, _ANNOUNCEMENT = Decoder(Answer), Decoder(Page), Decoder(Announcement)


def poll(options: PollOptions, cursor: str) -> Poll:
    """The announcements published since `cursor` (microseconds); at first the newest page."""
    source = Source("okx", EXCHANGE, options.score)
    known = newest = int(cursor or 0)
    for number in range(1, PAGES + 1):
        url = f"{options.base_url}/api/v5/support/announcements?page={number}"
        answer = yield from answer_to(Request(url, headers={**options.headers, "Accept-Language": "en-US"}))
        page, malformed = _page(answer)
        articles = yield from sliced(bounded(_articles(source, page.details, answer.received_at)), SLICE)
        yield [*malformed, *articles]
        times = [one.time for one in articles if isinstance(one, News)]
        newest = max([newest, *times])
        if not known or not times or min(times) <= known or number >= int(page.total_page):
            break
    return str(newest)


def _is_short_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 20


def _page(response: Response) -> tuple[Page, list[Malformed]]:
    """The page of an answer, and what else is in its place. Raises Reject (json, shape)."""
    answer = decoded(response, _ANSWER)
    pages, malformed = split(elements(answer.data, _PAGE, lambda page: [page]))
    if answer.code != "0" or len(pages) != 1 or not _is_short_number(pages[0].total_page):
        raise Reject(
            f"the answer of OKX has the code '{answer.code}': {answer.msg}; right would be '0' and one page", reason="shape"
        )
    return pages[0], malformed


def _articles(source: Source, details: Sequence[Raw], received_at: int) -> Iterator[News | Malformed]:
    for raw in details:
        try:
            announcement = _ANNOUNCEMENT.decode(raw)
        except UNREADABLE as error:
            yield malformed(bytes(raw), error)
            continue
        topic = TOPICS.get(announcement.ann_type)
        fields = ArticleFields(
            id="",
            time=int(announcement.p_time) * 1000 if _is_short_number(announcement.p_time) else None,
            title=announcement.title,
            url=announcement.url,
            categories=(announcement.ann_type,),
            symbols=listed_symbols(announcement.title) if topic else (),
            topic=topic,
        )
        yield article(source, fields, bytes(raw), received_at)
