"""Articles of news feeds: recorded feeds in full, other layouts, and malformed feeds and articles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ingest.errors import Reject
from ingest.pollers import news_coindesk, news_cointelegraph
from ingest.pollers._news_article import clean_link
from ingest.polling.provider import PollOptions
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Response
from ingest.records import SECOND, News
from tests.support.turns import NOW, micros, turn


def score(text: str) -> str:
    return "0.5000" if "moves" in text else "-0.2500"


def articles(body: bytes | str, module: Any = news_cointelegraph) -> list[News | Malformed]:
    return turn(module, body if isinstance(body, bytes) else body.encode(), score=score).records


def rss(item: str) -> str:
    return f'<?xml version="1.0"?><rss version="2.0" xmlns:media="http://search.yahoo.com/mrss/"><channel>{item}</channel></rss>'


def item(**parts: str) -> str:
    elements = {"title": "Bitcoin moves", "link": "https://x.org/a", "pubDate": "Fri, 20 Nov 2026 11:00:00 GMT"} | parts
    return "<item>" + "".join(f"<{name}>{text}</{name}>" for name, text in elements.items()) + "</item>"


def test_an_article_has_the_values_of_the_feed(real: Path) -> None:
    result = turn(news_coindesk, (real / "news_rss/coindesk_2026-09-25.xml").read_bytes(), score=score)
    assert (result.urls, len(result.records), result.cursor) == (["http://x/arc/outboundfeeds/rss/"], 3, "")
    assert [request.follow for request in result.requests] == [True], "publishers move their feeds"
    assert result.records[0] == News(
        source="coindesk",
        id="a0b4a6ba-5569-4fef-940c-e402f9698d89",
        time=micros(2026, 9, 25, 14, 41, 53),
        title="Circle and Tether step in to freeze hacker wallet after massive Bitget crypto heist",
        summary="The stablecoin issuer blacklisted a wallet holding about $318,000 in USDT and USDC. Most of the stolen funds sit "
        "in ether, which can't be frozen.",
        url="https://www.coindesk.com/markets/2026/09/25/"
        "circle-and-tether-step-in-to-freeze-hacker-wallet-after-massive-bitget-crypto-heist",
        author="Oliver Knight",
        image_url="https://cdn.sanity.io/images/s3y3vcno/production/fa4127f0e7d39e461c0b46e5ad103a58c4d7cf7f-1920x1080.png"
        "?fm=jpg&w=1920&h=1080&crop=focalpoint&fit=clip",
        symbols=("ETH", "USDC", "USDT"),
        categories=("Markets", "Circle", "Tether", "News", "security"),
        sentiment="-0.2500",
        relevance="0.81",
        impact_level="critical",
        received_at=NOW,
    )


def test_the_older_layout_of_the_feed_is_read(real: Path) -> None:
    found = articles((real / "news_rss/coindesk_2023-03-13.xml").read_bytes(), news_coindesk)
    stored = [article for article in found if isinstance(article, News)]
    assert len({article.id for article in stored}) == len(found) == 50
    assert [article.url for article in stored if "utm_" in article.url] == []
    assert min(article.time for article in stored) == micros(2023, 3, 10, 13, 8, 1)
    assert "(Shutterstock)" not in {article.title for article in stored} | {article.summary for article in stored}, (
        "the caption of a picture is not part of an article"
    )


def test_a_summary_in_html_becomes_plain_text_and_long_texts_are_cut() -> None:
    html = '<![CDATA[<p style="float:right"><img src="https://x.org/p.jpg"></p><p>Ether&nbsp;<b>moves</b> &lt;3</p>]]>'
    (short, long, solid) = articles(
        rss(item(description=html) + item(description="word " * 500, guid="b" * 600) + item(title="\u5e01 " + "\u5e01" * 400))
    )
    assert isinstance(short, News)
    assert isinstance(long, News)
    assert (short.summary, short.symbols, short.sentiment) == ("Ether moves <3", ("BTC", "ETH"), "0.5000")
    assert long.summary == "word " * 118 + "word\N{HORIZONTAL ELLIPSIS}"
    assert isinstance(solid, News)
    assert len(solid.title) == 300
    assert len(long.id) == 64, "an id too long for an index is hashed"


ATOM = """<?xml version="1.0" encoding="utf-8"?>
<feed xmlns="http://www.w3.org/2005/Atom">
  <title>Example Feed</title><link href="http://example.org/"/><updated>2003-12-13T18:30:02Z</updated>
  <author><name>John Doe</name></author><id>urn:uuid:60a76c80-d399-11d9-b93C-0003939e0af6</id>
  <entry>
    <title type="html">Atom-Powered Robots &lt;b>Run Amok&lt;/b></title>
    <link rel="self" href="http://example.org/2003/12/13/atom03.xml"/><link href="http://Example.org/2003/12/13/atom03#top"/>
    <id>urn:uuid:1225c695-cfb8-4ebb-aaaa-80da344efa6a</id>
    <updated>2013-12-13T18:30:02.25+01:00</updated><category term="robots"/>
    <author><name>Jane Doe</name></author><summary type="xhtml"><div>Some <i>text</i>.</div></summary>
  </entry>
</feed>"""


def test_the_category_of_an_article_is_one_of_its_topics() -> None:
    (article,) = articles(rss(item(title="A quiet day", category="Regulation")))
    assert isinstance(article, News)
    assert (article.categories, article.impact_level, article.relevance) == (("Regulation", "regulation"), "low", "0.31")


def test_an_atom_feed_is_read() -> None:
    """The example of https://www.rfc-editor.org/rfc/rfc4287#section-1.1, with more elements that an entry may have."""
    (article,) = articles(ATOM)
    assert isinstance(article, News)
    assert (article.id, article.url) == ("urn:uuid:1225c695-cfb8-4ebb-aaaa-80da344efa6a", "http://example.org/2003/12/13/atom03")
    assert (article.title, article.summary, article.author) == ("Atom-Powered Robots Run Amok", "Some text .", "Jane Doe")
    assert (article.time, article.categories) == (micros(2013, 12, 13, 17, 30, 2) + SECOND // 4, ("robots",))


def test_an_rss_1_feed_is_read() -> None:
    """As in https://validator.w3.org/feed/docs/rss1.html: items beside the channel, dates of Dublin Core, no guid."""
    body = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"
        xmlns:dc="http://purl.org/dc/elements/1.1/"><channel rdf:about="http://x.org/"><title>X</title></channel>
        <item rdf:about="http://x.org/a"><title>Ether moves</title><link>http://x.org/a/?utm_source=rss</link>
        <dc:date>2026-11-20T11:00+02:00</dc:date><dc:creator>Jane</dc:creator></item></rdf:RDF>"""
    (article,) = articles(body)
    assert isinstance(article, News)
    assert (article.id, article.url, article.author, article.time) == (
        "http://x.org/a/",
        "http://x.org/a/",
        "Jane",
        micros(2026, 11, 20, 9),
    )


@pytest.mark.parametrize(
    ("parts", "reason", "message"),
    [
        ({"pubDate": "Fri, 20 Nov 2026 13:00:01 GMT"}, "value", "dated 2026-11-20T13:00:01+00:00, more than an hour ahead"),
        ({"pubDate": "soon"}, "value", "has no date; right would be one of RFC 2822 or ISO 8601"),
        ({"pubDate": "Thu, 01 Jan 1970 00:00:00 GMT"}, "value", "has no date"),
        ({"pubDate": ""}, "value", "has no date"),
        ({"title": "<![CDATA[<b></b>]]>"}, "shape", "an article needs a title and a link: '', 'https://x.org/a'"),
        ({"link": ""}, "shape", "an article needs a title and a link: 'Bitcoin moves', ''"),
        ({"link": "javascript:alert(1)"}, "shape", "an article needs a title and a link"),
        ({"link": "https://[x.org/a"}, "shape", "an article needs a title and a link"),
        ({"link": "https://x.org/" + "a" * 2000}, "shape", "an article needs a title and a link"),
    ],
)
def test_a_malformed_article_is_reported_and_the_others_are_read(parts: dict[str, str], reason: str, message: str) -> None:
    first, bad, last = articles(rss(item() + item(**parts) + item(guid="c")))
    assert isinstance(first, News)
    assert isinstance(last, News)
    assert isinstance(bad, Malformed)
    assert (bad.reason, bad.payload.startswith(b"<item")) == (reason, True)
    assert message in bad.message


def test_the_first_date_that_can_be_read_is_that_of_the_article() -> None:
    dates = '<pubDate>2 hours ago</pubDate><date xmlns="http://purl.org/dc/elements/1.1/">2026-11-20T09:00:00Z</date>'
    (article,) = articles(rss(item().replace("<pubDate>Fri, 20 Nov 2026 11:00:00 GMT</pubDate>", dates)))
    assert isinstance(article, News)
    assert article.time == micros(2026, 11, 20, 9)


def test_an_article_dated_an_hour_ahead_is_accepted() -> None:
    (article,) = articles(rss(item(pubDate="Fri, 20 Nov 2026 13:00:00 GMT")))
    assert isinstance(article, News)
    assert article.time == NOW + 3600 * SECOND == micros(2026, 11, 20, 13)


BOMB = '<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><rss><channel><title>&b;</title></channel></rss>'
FILE = '<!DOCTYPE rss [<!ENTITY a SYSTEM "file:///etc/passwd">]><rss><channel><title>&a;</title></channel></rss>'


@pytest.mark.parametrize(
    ("body", "reason", "message"),
    [
        (b"<html><body>Just a moment...</body></html>", "shape", "<html> is not a feed"),
        (b"<!DOCTYPE html><html><head><meta></head></html>", "xml", "mismatched tag"),
        (b'{"error":"slow down"}', "xml", "not well-formed"),
        (b"", "xml", "no element found"),
        (rss(item()).encode()[:-30], "xml", "unclosed token"),  # without a whole article
        (b"<rss></rss>", "shape", "<rss> is not a feed"),
        (BOMB.encode(), "xml", "declares its own types or entities"),
        (BOMB.encode("utf-16"), "xml", "declares its own types or entities"),
        (FILE.encode(), "xml", "declares its own types or entities"),
        (b"\n" + BOMB.encode(), "xml", "declares its own types or entities"),
        (b'<?xml version="1.0" encoding="klingon"?><rss/>', "shape", "<rss> is not a feed"),
    ],
)
def test_a_malformed_feed_is_rejected(body: bytes, reason: str, message: str) -> None:
    with pytest.raises(Reject, match=message) as refused:
        articles(body)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("body", "titles", "faults"),
    [
        ("\n" + rss(item()), ["Bitcoin moves"], ["not at start of entity"]),
        (rss(item(title="A\bB") + item(guid="b")), ["AB", "Bitcoin moves"], ["not well-formed"]),
        (rss(item(title="A & B") + item(guid="b")), ["A & B", "Bitcoin moves"], ["not well-formed"]),
        (rss(item(title="A&nbsp;B") + item(guid="b")), ["A B", "Bitcoin moves"], ["undefined entity"]),
        (rss(item()) * 2, ["Bitcoin moves"], ["junk after document element"]),
        (
            rss(item(title="Caf\u00e9")).replace("?>", ' encoding="utf-8"?>', 1).encode("latin-1"),
            ["Caf\u00e9"],
            ["not well-formed"],
        ),
        (
            rss(item(title="\u6bd4\u7279\u5e01")).replace("?>", ' encoding="gb2312"?>', 1).encode("gb2312"),
            ["\u6bd4\u7279\u5e01"],
            ["multi-byte"],
        ),
        (rss(item(title="x<dc:x>y</dc:x>") + item(guid="b")), ["x y", "Bitcoin moves"], ["unbound prefix"]),
        (rss(item(guid="a") + item(guid="b"))[:-60], ["Bitcoin moves"], ["no element found", "it is not closed"]),
        (rss(item(guid="a") + item(title="<b>x") + item(guid="c")), ["Bitcoin moves"] * 2, ["mismatched tag", "mismatched tag"]),
    ],
)
def test_a_feed_that_is_not_well_formed_is_repaired_and_the_fault_is_reported(
    body: bytes | str, titles: list[str], faults: list[str]
) -> None:
    found = articles(body)
    assert [article.title for article in found if isinstance(article, News)] == titles
    bad = [one for one in found if isinstance(one, Malformed)]
    assert [fault in one.message for fault, one in zip(faults, bad, strict=True)] == [True] * len(faults)
    assert {one.reason for one in bad} == {"xml"}


@pytest.mark.parametrize(
    ("guid", "url"),
    [
        ('<guid isPermaLink="true">https://n.example/p1</guid>', "https://n.example/p1"),
        ("<guid>https://n.example/p1?utm_source=rss</guid>", "https://n.example/p1"),
        ('<guid isPermaLink="false">https://n.example/p1</guid>', ""),
        ("<guid>p1</guid>", ""),
    ],
)
def test_a_guid_that_is_a_link_is_the_link_of_an_article_without_one(guid: str, url: str) -> None:
    (found,) = articles(rss(item().replace("<link>https://x.org/a</link>", guid)))
    assert (found.url if isinstance(found, News) else "") == url


def test_an_id_that_others_share_is_no_id() -> None:
    shared = "".join(item(guid="N/A", link=f"https://x.org/{n}", title=f"Title {n}") for n in range(5))
    other = "".join(item(guid="post-7", link=f"https://x.org/{n}", title=f"Title {n}") for n in (5, 6))
    alone = item(guid="null", link="https://x.org/7") + item(guid="g8", link="https://x.org/8") * 2
    ids = [found.id for found in articles(rss(shared + other + alone)) if isinstance(found, News)]
    assert ids == [*(f"https://x.org/{n}" for n in range(8)), "g8", "g8"], "an entry that a feed repeats keeps its id"
    (later,) = articles(rss(item(guid="N/A", link="https://x.org/3", title="Title 3")))
    assert isinstance(later, News)
    assert later.id == "https://x.org/3", "as in the turn before"


def test_the_report_of_a_repair_is_the_same_while_the_rest_of_the_feed_changes() -> None:
    """The daemon keeps a payload once while it is repeated in every turn."""
    broken = item(title="a" * 200 + "&nbsp;")
    first, second = (articles(rss(broken + item(title=title)))[0] for title in ("Bitcoin moves", "Ether moves"))
    assert isinstance(first, Malformed)
    assert first.payload == second.payload


def test_a_feed_without_articles_is_valid() -> None:
    assert articles(rss("<title>Nothing yet</title>")) == []
    assert articles('<?xml version="1.0"?><!DOCTYPE rss><rss><channel/></rss>') == [], "a doctype alone declares nothing"


def test_a_feed_is_read_one_article_at_a_time() -> None:
    scored: list[str] = []

    def count_score(text: str) -> str:
        scored.append(text)
        return "0.0000"

    flow = news_coindesk.poll(PollOptions(base_url="http://x", score=count_score), "")
    next(flow)
    body = rss(item(guid="a") + item(guid="b")).encode()
    assert [article.id for article in flow.send(Response(200, body, received_at=NOW))] == ["a"]
    assert len(scored) == 1
    assert [article.id for article in next(flow)] == ["b"]


def test_entries_within_an_entry_are_part_of_it() -> None:
    """9,000 nested entries blocked the event loop for minutes when each was serialised with all entries within it."""
    nested = "<item><title>Bitcoin</title>" * 9000 + "</item>" * 9000
    first, bad, last = articles(rss(item() + nested + item(guid="c")))
    assert isinstance(bad, Malformed)
    assert len(bad.payload) < len(nested)
    assert [article.id for article in (first, last) if isinstance(article, News)] == ["https://x.org/a", "c"]


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://X.org/A/?utm_source=rss&id=7&UTM_Medium=x#top", "https://x.org/A/?id=7"),
        ("HTTP://x.org/a?b=%20c&d=", "http://x.org/a?b=%20c&d="),
        ("https://x.org/a?utm_campaign=rss", "https://x.org/a"),
        ("ftp://x.org/a", ""),
        ("/a", ""),
    ],
)
def test_a_link_is_without_fragment_and_tracking_parameters(url: str, clean: str) -> None:
    assert clean_link(url) == clean
    assert clean_link(clean) == clean
