"""Announcements of exchanges, and articles of an aggregator.

CryptoPanic's posts of 2018 are recorded. OKX's response is the documented example of
https://www.okx.com/docs-v5/en/#announcement-get-announcements. Binance has no documentation: the shape is that of its website's
responses.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingest.errors import Reject
from ingest.pollers import news_binance, news_cryptopanic, news_okx
from ingest.polling.provider import Missed
from ingest.protocol.decode import Malformed
from ingest.records import News
from tests.support.turns import NOW, TurnResult, micros, turn


def score(_: str) -> str:
    return "0.0000"


def binance(*articles: dict[str, Any], name: str = "New Cryptocurrency Listing") -> bytes:
    catalogue = {"catalogId": 48, "parentCatalogId": None, "catalogName": name, "catalogType": 1, "total": 1819}
    data = {"catalogs": [catalogue | {"articles": articles}]}
    return json.dumps({"code": "000000", "message": None, "messageDetail": None, "data": data}).encode()


OLUSDT = {
    "id": 239914,
    "code": "80889caa7146492f9de2a2627fa30a4d",
    "title": "Binance Futures Will Launch USDⓈ-Margined OLUSDT Perpetual Contract (2025-06-25)",
    "type": 1,
    "releaseDate": 1750843841537,
}


def test_a_listing_of_binance_is_of_high_impact() -> None:
    delisted = OLUSDT | {"code": "b", "title": "Binance Will Delist ALCX, ARDR on 2026-07-10", "id": 2}
    latest = OLUSDT | {"code": "c", "title": "Notice of Wallet Maintenance for BTC", "id": 3}
    result = turn(
        news_binance,
        binance(OLUSDT),
        binance(delisted, {"code": "d"}, name="Delisting"),
        binance(latest, OLUSDT, name="Latest Binance News"),
        score=score,
    )
    path = "http://x/bapi/composite/v1/public/cms/article/list/query?type=1&catalogId={}&pageNo=1&pageSize=20"
    assert result.urls == [path.format(number) for number in (48, 161, 49)]
    assert {request.headers["lang"] for request in result.requests} == {"en"}
    listing, delisting, bad, news = result.records  # an article in two categories is yielded once, as a listing
    assert listing == News(
        source="binance",
        id="80889caa7146492f9de2a2627fa30a4d",
        time=1750843841537000,
        title="Binance Futures Will Launch USDⓈ-Margined OLUSDT Perpetual Contract (2025-06-25)",
        summary=None,
        url="https://www.binance.com/en/support/announcement/80889caa7146492f9de2a2627fa30a4d",
        author=None,
        image_url=None,
        symbols=("OL",),
        categories=("New Cryptocurrency Listing", "listing"),
        sentiment="0.0000",
        relevance="1.00",
        impact_level="high",
        received_at=NOW,
    )
    assert (delisting.symbols, delisting.categories) == (("ALCX", "ARDR"), ("Delisting", "delisting"))
    assert (news.symbols, news.impact_level) == (("BTC",), "low")
    assert isinstance(bad, Malformed)
    assert (bad.reason, bad.payload) == ("shape", b'{"code": "d"}')


OKX = {
    "code": "0",
    "data": [
        {
            "details": [
                {
                    "annType": "announcements-new-listings",
                    "title": "OKX to list Virtuals Protocol (VIRTUAL) for spot trading",
                    "url": "https://www.okx.com/help/okx-to-list-virtuals-protocol-virtual-for-spot-trading",
                    "pTime": "1761620404821",
                    "businessPTime": "1761620400000",
                },
                {
                    "annType": "announcements-web3",
                    "title": "Completion of X Layer Mainnet Upgrade",
                    "url": "https://www.okx.com/help/completion-of-x-layer-mainnet-upgrade",
                    "pTime": "1761582756071",
                    "businessPTime": "1761580800000",
                },
            ],
            "totalPage": "123",
        }
    ],
    "msg": "",
}


def test_the_id_of_an_announcement_of_okx_is_its_url() -> None:
    result = turn(news_okx, json.dumps(OKX).encode(), score=score)
    assert result.urls == ["http://x/api/v5/support/announcements?page=1"]
    assert result.requests[0].headers == {"Accept-Language": "en-US"}
    assert result.cursor == "1761620404821000"
    assert result.records[0] == News(
        source="okx",
        id="https://www.okx.com/help/okx-to-list-virtuals-protocol-virtual-for-spot-trading",
        time=1761620404821000,
        title="OKX to list Virtuals Protocol (VIRTUAL) for spot trading",
        summary=None,
        url="https://www.okx.com/help/okx-to-list-virtuals-protocol-virtual-for-spot-trading",
        author=None,
        image_url=None,
        symbols=("VIRTUAL",),
        categories=("announcements-new-listings", "listing"),
        sentiment="0.0000",
        relevance="1.00",
        impact_level="high",
        received_at=NOW,
    )
    assert (result.records[1].categories, result.records[1].impact_level) == (("announcements-web3", "technology"), "medium")


def test_after_a_pause_pages_of_okx_are_read_back_to_the_cursor() -> None:
    def page(*times: int) -> bytes:
        details = [
            {"annType": "announcements-api", "title": f"No {time}", "url": f"https://x.org/{time}", "pTime": f"{time}"}
            for time in times
        ]
        return json.dumps({"code": "0", "msg": "", "data": [{"details": details, "totalPage": "3"}]}).encode()

    def read_since(cursor: int, *bodies: bytes) -> TurnResult:
        return turn(news_okx, *bodies, cursor=str(cursor * 1000), score=score)

    start = 1_761_620_400_000
    first, second, third = page(start + 9, start + 8), page(start + 7, start + 6), page(start + 5, start + 4)
    assert [len(read_since(start + since, first, second, third).urls) for since in (8, 7, 6, 5, 1)] == [1, 2, 2, 3, 3]
    assert read_since(start + 7, first, second).cursor == f"{start + 9}000"


def recorded(real: Path) -> bytes:
    text = (real / "cryptopanic/moq_2018.js.txt").read_text()
    page, _ = json.JSONDecoder().raw_decode(text, text.index("{", text.index("generic:")))
    return json.dumps(page).encode()


def test_recorded_posts_of_cryptopanic(real: Path) -> None:
    result = turn(news_cryptopanic, recorded(real), secret={"auth_token": "geheim"}, score=score)
    assert result.urls == ["http://x/posts/?kind=news&public=true&regions=en"]
    assert result.requests[0].secret == {"auth_token": "geheim"}
    page = json.loads(recorded(real))["results"]
    assert len(result.records) == len(page) == 40
    assert [article.id for article in result.records] == [str(post["id"]) for post in page]
    assert result.records[0] == News(
        source="cryptopanic",
        id="841770",
        time=micros(2018, 1, 18, 9, 45, 28) + 965353,
        title="NEO ($NEO) price is up 20.99%",
        summary=None,
        url="https://cryptopanic.com/news/841770/NEO-NEO-price-is-up-2099-in-the-last-24h",
        author="CoinMarketCap",
        image_url=None,
        symbols=("NEO",),
        categories=(),
        sentiment="0.0000",
        relevance="0.42",
        impact_level="low",
        received_at=NOW,
    )


V2 = {
    "id": 12345,
    "slug": "bitcoin-exploit",
    "title": "Bitcoin bridge exploited",
    "description": "An exploit of <b>a bridge</b>.",
    "published_at": "2026-11-20T10:30:00Z",
    "created_at": "2026-11-20T10:31:00Z",
    "kind": "news",
    "source": {"title": "CoinDesk", "region": "en", "domain": "coindesk.com"},
    "original_url": "https://www.coindesk.com/exploit?utm_source=cryptopanic",
    "url": "https://cryptopanic.com/news/12345/bitcoin-exploit",
    "image": "https://x.org/12345.jpg",
    "instruments": [{"code": "BTC", "title": "Bitcoin"}, {"code": "WBTC", "title": "Wrapped Bitcoin"}],
    "votes": {"positive": 120},
}


def test_a_post_of_version_2_has_its_publishers_link() -> None:
    """The fields of a post that https://cryptopanic.com/developers/api/ documents. A malformed post does not affect the others."""
    body = json.dumps({"next": "https://x/?auth_token=geheim&page=2", "results": [{"id": "x"}, V2, V2 | {"title": None}]})
    bad, post, worse = turn(news_cryptopanic, body.encode(), score=score).records
    assert (bad.payload, bad.reason, worse.reason) == (b'{"id": "x"}', "shape", "shape")
    assert (post.url, post.summary, post.author) == ("https://www.coindesk.com/exploit", "An exploit of a bridge.", "CoinDesk")
    assert (post.symbols, post.categories) == (("BTC", "WBTC"), ("news", "security"))
    assert (post.impact_level, post.image_url) == ("high", "https://x.org/12345.jpg")


@pytest.mark.parametrize(
    ("module", "body", "reason"),
    [
        (news_binance, b'{"code":"000002","message":"illegal parameter","data":null}', "shape"),
        (news_binance, b"", "json"),
        (news_binance, b"<html></html>", "json"),
        (news_okx, b'{"code":"50011","msg":"Too Many Requests","data":[]}', "shape"),
        (news_okx, b'{"code":"0","msg":"","data":[{"details":[],"totalPage":"many"}]}', "shape"),
        (news_okx, b'{"code":"0","msg":"","data":[{"details":[', "json"),
        (news_cryptopanic, b'{"status":"api_error","info":"Token not found"}', "shape"),
        (news_cryptopanic, b"<html></html>", "json"),
    ],
)
def test_a_malformed_response_is_rejected(module: Any, body: bytes, reason: str) -> None:
    with pytest.raises(Reject) as refused:
        turn(module, body, body, body, score=score)
    assert refused.value.reason == reason


CATALOGUE = {"catalogName": "x", "articles": [OLUSDT | {"code": "z"}]}


@pytest.mark.parametrize("odd", [7, {}, CATALOGUE | {"catalogName": None}, CATALOGUE | {"articles": 7}])
def test_an_odd_catalogue_of_binance_costs_itself(odd: object) -> None:
    def body(*catalogues: object) -> bytes:
        return json.dumps({"code": "000000", "data": {"catalogs": catalogues}}).encode()

    bodies = (binance(OLUSDT), body(odd), binance(OLUSDT | {"code": "b"}, name="Latest Binance News"))
    records = turn(news_binance, *bodies, score=score).records
    assert [one.id for one in records if isinstance(one, News)] == [OLUSDT["code"], "b"]
    assert [one.name for one in records if isinstance(one, Missed)] == ["catalogue 161"]
    records = turn(news_binance, bodies[0], body(odd, CATALOGUE), bodies[2], score=score).records
    assert [one.id for one in records if isinstance(one, News)] == [OLUSDT["code"], "z", "b"]
    assert [type(one) for one in records if not isinstance(one, News)] == [Malformed]


def test_what_is_beside_a_page_of_okx_costs_itself() -> None:
    listed = {
        "annType": "announcements-api",
        "title": "OKX to list BTC",
        "url": "https://www.okx.com/help/1",
        "pTime": "1761620404821",
    }
    body = {"code": "0", "msg": "", "data": [7, {"details": [listed], "totalPage": "1"}]}
    bad, news = turn(news_okx, json.dumps(body).encode(), score=score).records
    assert (bad.payload, news.url) == (b"7", "https://www.okx.com/help/1")


def test_a_name_of_a_coin_that_cannot_be_stored_is_left_out() -> None:
    odd = [{"code": "a\0b"}, {"code": ""}, {"code": "A" * 5000}, {"code": None}, 7]
    body = json.dumps({"results": [V2 | {"instruments": [*odd, {"code": "WBTC"}]}]})
    (post,) = turn(news_cryptopanic, body.encode(), score=score).records
    assert post.symbols == ("BTC", "WBTC")


def test_an_id_or_a_link_with_a_nul_is_not_stored() -> None:
    odd = OLUSDT | {"code": "a\0b"}
    (bad,) = turn(news_binance, binance(odd), binance(), binance(), score=score).records
    assert (type(bad), bad.reason) == (Malformed, "shape")
    body = json.dumps({"results": [V2 | {"image": "https://x.org/a\0b.jpg"}]})
    (post,) = turn(news_cryptopanic, body.encode(), score=score).records
    assert post.image_url is None
