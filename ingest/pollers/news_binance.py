"""Binance's announcements: listings, delistings and latest news, from the API of its website.

https://www.binance.com/en/support/announcement. The API is not documented; `docs/news_binance.md` describes it. An error has status
200 and a `code` other than "000000", or an empty body if the server expects a browser.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Raw, Struct
from msgspec.json import Decoder

from ingest.errors import Reject
from ingest.pollers._news_article import SLICE, ArticleFields, Source, article
from ingest.pollers._news_rules import EXCHANGE, Topic
from ingest.polling.elements import bounded, elements, sliced
from ingest.polling.provider import Part, Plan, Poll, PollOptions, decoded, run_parts
from ingest.protocol.decode import UNREADABLE, Malformed, malformed
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import News
from ingest.text.coin_mentions import listed_symbols

NAME = "news_binance"
TABLES = ("news",)
PLANS = {
    "keyless": Plan(
        base_url="https://www.binance.com",
        per_minute=6,
        interval=300,
        requests=3,
        terms="https://www.binance.com/en/terms: titles and links of public announcements; the text is Binance's",
    )
}
ASSETS: dict[str, str] = {}
CATALOGUES = {48: Topic("listing", "high", ""), 161: Topic("delisting", "high", ""), 49: None}  # new coins, delistings, news
PAGE = "/bapi/composite/v1/public/cms/article/list/query?type=1&catalogId={}&pageNo=1&pageSize=20"
LINK = "https://www.binance.com/en/support/announcement/"


class Catalogue(Struct, rename="camel"):
    """One list of announcements, newest first."""

    articles: list[Raw]
    catalog_name: str = ""


class Data(Struct):
    catalogs: list[Raw]


class Answer(Struct):
    code: str
    data: Data | None = None
    message: str | None = None


class Announcement(Struct, rename="camel"):
    """One announcement. `code` is part of its URL; `release_date` is in milliseconds."""

    code: str
    title: str
    release_date: int


_ANSWER, _CATALOGUE, _ANNOUNCEMENT = Decoder(Answer), Decoder(Catalogue), Decoder(Announcement)


def poll(options: PollOptions, _cursor: str) -> Poll:
    """The last twenty announcements of each catalogue. The first catalogue of an announcement counts: it is the most specific."""
    seen: set[str] = set()
    yield from run_parts((f"catalogue {number}", _fetch(options, number, topic, seen)) for number, topic in CATALOGUES.items())
    return ""


def _fetch(options: PollOptions, number: int, topic: Topic | None, seen: set[str]) -> Part[list[News | Malformed]]:
    """The announcements of a catalogue that are not among `seen`, which are added to it."""
    request = Request(options.base_url + PAGE.format(number), headers={**options.headers, "lang": "en"})
    answer = yield from answer_to(request)
    source = Source("binance", EXCHANGE, options.score)
    found = (one for each in _catalogues(answer) for one in _articles(source, each, topic, answer.received_at))
    articles = yield from sliced(bounded(found), SLICE)
    new = [one for one in articles if isinstance(one, Malformed) or one.id not in seen]
    seen.update(one.id for one in articles if isinstance(one, News))
    return new


def _catalogues(response: Response) -> Iterator[Catalogue | Malformed]:
    """The catalogues of an answer. Raises Reject (json, shape)."""
    answer = decoded(response, _ANSWER)
    if answer.code != "000000" or answer.data is None:
        raise Reject(
            f"the answer of Binance has the code '{answer.code}': {answer.message}; right would be '000000'", reason="shape"
        )
    return elements(answer.data.catalogs, _CATALOGUE, lambda catalogue: [catalogue])


def _articles(
    source: Source, catalogue: Catalogue | Malformed, topic: Topic | None, received_at: int
) -> Iterator[News | Malformed]:
    if isinstance(catalogue, Malformed):
        yield catalogue
        return
    for raw in catalogue.articles:
        try:
            announcement = _ANNOUNCEMENT.decode(raw)
        except UNREADABLE as error:
            yield malformed(bytes(raw), error)
            continue
        fields = ArticleFields(
            id=announcement.code,
            time=announcement.release_date * 1000,
            title=announcement.title,
            url=LINK + announcement.code,
            categories=(catalogue.catalog_name,),
            symbols=listed_symbols(announcement.title) if topic else (),
            topic=topic,
        )
        yield article(source, fields, bytes(raw), received_at)
