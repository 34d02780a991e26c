"""One turn of each poller, and its history: its options, and the bodies that answer its requests.

The bodies are recorded where a recording exists (`../shared/real`), else the documented examples that the tests of the poller use,
with other times and ids; `docs` of the poller names the page. Long recordings are cut to some rows.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import cycle
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ingest import registry
from ingest.pollers import blockchain_com, coinmetrics, fred, glassnode, whale_ethereum
from ingest.polling.provider import PollOptions
from ingest.records import SECOND, Asset
from tests.support.chains import FIRST, FIRST_TIME, MKR, TIME, TIP, Etherscan, MempoolSpace
from tests.support.paths import REAL
from tests.support.recordings.files import load, real
from tests.support.social import EXAMPLE, RSS, STOCKTWITS, TELEGRAM, score
from tests.support.turns import NOW, micros

ROWS = 8
LINES = re.compile(rb"(?<=\n)[^\n]+\n")
ITEMS = re.compile(rb"<(item|entry)[ >].*?</\1>", re.DOTALL)
MESSAGES = re.compile(rb'<div class="tgme_widget_message_wrap.*?(?=<div class="tgme_widget_message_wrap|</section>)', re.DOTALL)
TOPIC_TIME = 1_750_604_580 * SECOND  # of LunarCrush's example
BTC, ETH = Asset("BTC", "bitcoin", id=1), Asset("ETH", "ethereum", id=2)

Answer = Callable[[str], bytes]  # from what follows the base URL to the body


class Case(Struct, frozen=True):
    """A turn. `pattern` finds the rows of a body that is no JSON. `apart`: its rows do not depend on each other.

    A row of a body in `joined` completes a record of another body. `selects`: rows below a limit are not reported. `span`: the
    history of [since, until), microseconds, instead of a turn.
    """

    options: PollOptions
    answer: Callable[[], Answer]  # made anew for each turn
    cursor: str = ""
    prices: dict[str, str] = {}
    pattern: re.Pattern[bytes] | None = None
    apart: bool = True
    joined: frozenset[int] = frozenset()
    selects: bool = False
    now: int = NOW
    span: tuple[int, int] | None = None


def options(**values: Any) -> PollOptions:
    return PollOptions(base_url="http://x", score=score, **values)


def always(*bodies: Any) -> Callable[[], Answer]:
    """The same bodies in each turn, in this order, again from the first one after the last."""
    encoded = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]

    def start() -> Answer:
        following = cycle(encoded)
        return lambda path: next(following)

    return start


def stamp(days: int) -> int:
    """Seconds of a midnight so many days ago."""
    return NOW // SECOND // 86_400 * 86_400 - days * 86_400


def iso(minutes: int) -> str:
    return datetime.fromtimestamp(NOW / SECOND - 60 * minutes, UTC).isoformat()


def table(name: str, rows: int) -> list[dict[str, str]]:
    """The last rows of a recorded CSV file."""
    return list(csv.DictReader(real(name).read_text().splitlines()))[-rows:]


# --- figures -------------------------------------------------------------------------------------------------------------


def alpha_vantage() -> Case:
    recorded = list(json.loads(json.dumps(load("alphavantage/mock_time_series.json")))["Time Series (1min)"].values())
    days = {f"2026-11-{day}": bar for day, bar in zip(range(19, 10, -1), recorded, strict=False)}
    return Case(options(), always({"Meta Data": {"2. Symbol": "SPY"}, "Time Series (Daily)": days}))


def alternative() -> Case:
    return Case(options(), always(load("alternative_me/fng_limit2_2026-09-08.json")))


def blockchain() -> Case:
    rows = table("onchain_series/hashrate.csv", ROWS)
    values = [{"x": stamp(number), "y": float(row["hashrate"])} for number, row in enumerate(rows)]
    return Case(options(), always(*[{"status": "ok", "period": "day", "values": values}] * len(blockchain_com.CHARTS)))


def file_of(name: str, rows: int = ROWS) -> bytes:
    lines = real(name).read_bytes().splitlines(keepends=True)
    return b"".join([lines[0], *lines[-rows:]])


def cboe_days() -> Case:
    return Case(options(), always(file_of("stock_indices/vix-daily.csv")), pattern=LINES)


def coins() -> Case:
    recorded: Any = load("coingecko/market_data_for_multiple_coins_in_eth.json")
    markets = [row | {"last_updated": iso(3)} for row in recorded["body"]]
    simple = {coin: {"aud": 2.5, "aud_market_cap": 20.0, "aud_24h_vol": 1} for coin in ("bitcoin", "ethereum")}
    return Case(options(assets=(BTC, ETH)), always(markets, simple), joined=frozenset([1]))


def coin_metrics() -> Case:
    rows = table("coinmetrics/btc.csv", ROWS)
    names = [name for name in coinmetrics.METRICS if name in rows[0]]
    data = [
        {"asset": "btc", "time": f"{row['date']}T00:00:00.000000000Z"} | {name: row[name] for name in names if row[name]}
        for row in rows
    ]
    return Case(options(assets=(Asset("BTC", "btc"), Asset("ETH", "eth"))), always({"data": data}))


def etherscan_figures() -> Case:
    names = (
        "get_gas_oracle",
        "get_total_eth_supply",
        "get_eth_nodes_size",
        "pro_get_daily_tx_count",
        "pro_get_daily_new_address_count",
    )
    results = [load(f"etherscan/{name}.json")["res"] for name in names]  # type: ignore[index]
    results[1] = {
        "EthSupply": "122373866217800000000000000",
        "Eth2Staking": "2",
        "BurntFees": "46109428563374",
        "WithdrawnTotal": "7",
    }
    results[2] = {"UTCDate": "2019-02-25", "TotalNodeCount": "11786"}
    bodies = [
        {"status": "1", "message": "OK", "result": result[:ROWS] if isinstance(result, list) else result} for result in results
    ]
    return Case(options(plan="pro", secret={"apikey": "k"}), always(*bodies), now=micros(2019, 3, 1, 12))


def fred_series() -> Case:
    lines = b"2026-07-02,1.5\n2026-07-03,.\n2026-07-06,2.25\n2026-07-07,2.5\n"
    return Case(options(), always(*[b"observation_date,%s\n%s" % (name.encode(), lines) for name in fred.SERIES]), pattern=LINES)


def glass_node() -> Case:
    points = [{"t": stamp(day), "v": value} for day, value in ((4, 812345.0), (3, 1.0543e21), (2, None), (1, 7))]
    assets = tuple(Asset(symbol, glassnode.ASSETS[symbol]) for symbol in ("BTC", "ETH"))
    return Case(options(assets=assets), always(points))


def lunar_crush() -> Case:
    topic, series = (load(f"lunarcrush/{name}.json")["response"] for name in ("topic", "topic_time_series"))  # type: ignore[index]
    hours = [series["data"][0] | {"time": series["data"][0]["time"] + 3600 * hour} for hour in range(ROWS)]
    return Case(
        options(assets=(BTC,)), always(topic, series | {"data": hours}), "1749945600", now=TOPIC_TIME, joined=frozenset([0, 1])
    )


def mempool() -> Case:
    rates = [{"timestamp": stamp(day), "avgHashrate": 236416872483600000000 + day} for day in range(ROWS, 0, -1)]
    difficulty = [{"time": stamp(day), "height": 736249, "difficulty": 31251101365711.12, "adjustment": 1.04} for day in (9, 2)]
    info: Any = load("mempool_space/mainnet_mempoolInfo.json")
    state = {
        "count": info["mempoolInfo"]["size"],
        "vsize": info["mempoolInfo"]["bytes"],
        "total_fee": 5,
        "fee_histogram": [[53.01, 1]],
    }
    return Case(options(), always({"hashrates": rates, "difficulty": difficulty}, state))


def moralis_holders() -> Case:
    holders = {
        "totalHolders": "99999",
        "holdersByAcquisition": {"swap": "10"},
        "holderDistribution": {"whales": "100", "sharks": 5},
    }
    assets = (
        Asset("USDT", "0xdac17f958d2ee523a2206206994597c13d831ec7"),
        Asset("UNI", "0x1f9840a85d5af5bf1d1762f925bdaddc4201f984"),
    )
    return Case(options(assets=assets), always(holders))


def stooq_days() -> Case:
    return Case(options(secret={"apikey": "k"}), always(file_of("stock_indices/stooq_sp500_usd.csv")), pattern=LINES)


def yahoo_chart() -> Case:
    recorded: Any = load("yahoo/chart-AAPL-2020-08-31-to-2020-11-07.json")
    return Case(options(), always(*[recorded["response"]["bodyJson"]] * 3))


# --- news and posts ------------------------------------------------------------------------------------------------------


def feed() -> Case:
    body = real("news_rss/coindesk_2023-03-13.xml").read_bytes()
    found = list(ITEMS.finditer(body))
    return Case(options(), always(body[: found[3].end()] + body[found[-1].end() :]), pattern=ITEMS)


def binance_news() -> Case:
    def page(name: str, first: int) -> dict[str, Any]:
        articles = [
            {
                "id": n,
                "code": f"c{n}",
                "title": f"Binance Will List BTC and ETH {n}",
                "type": 1,
                "releaseDate": NOW // 1000 - n * 1000,
            }
            for n in range(first, first + 4)
        ]
        return {"code": "000000", "data": {"catalogs": [{"catalogId": first, "catalogName": name, "articles": articles}]}}

    return Case(options(), always(page("New Cryptocurrency Listing", 10), page("Delisting", 20), page("Latest Binance News", 30)))


def okx_news() -> Case:
    details = [
        {
            "annType": "announcements-api",
            "title": f"OKX to list BTC {n}",
            "url": f"https://www.okx.com/help/{n}",
            "pTime": f"{time}",
        }
        for n, time in enumerate(range(1_761_620_404_821, 1_761_620_404_821 - ROWS * 1000, -1000))
    ]
    return Case(options(), always({"code": "0", "msg": "", "data": [{"details": details, "totalPage": "1"}]}))


def crypto_panic() -> Case:
    text = real("cryptopanic/moq_2018.js.txt").read_text()
    page, _ = json.JSONDecoder().raw_decode(text, text.index("{", text.index("generic:")))
    return Case(options(secret={"auth_token": "k"}), always(page | {"results": page["results"][:ROWS], "next": None}))


def mastodon_posts() -> Case:
    posts = [EXAMPLE | {"id": f"{900 - n}", "created_at": iso(n), "content": f"<p>Bitcoin looks good {n}</p>"} for n in range(ROWS)]
    return Case(options(assets=(BTC,)), always(posts))


def reddit_posts() -> Case:
    entry = ITEMS.search(RSS)
    assert entry is not None
    text = re.sub(r"<(published|updated)>[^<]*<", rf"<\1>{iso(60)}<", entry[0].decode()).replace(
        "I'm thinking", "Bitcoin looks good"
    )
    entries = "".join(text.replace("1fmapo9", f"1fmap{n}").replace("looks good", f"looks good chart{n}") for n in range(5))
    return Case(options(assets=(Asset("BTC", "rss"),)), always(RSS[: entry.start()] + entries.encode() + b"</feed>"), pattern=ITEMS)


def stocktwits_messages() -> Case:
    message = STOCKTWITS["messages"][0] | {"symbols": [{"id": 1, "symbol": "BTC.X", "title": "Bitcoin"}]}
    messages = [message | {"id": 900 - n, "body": f"good {n}", "created_at": iso(n)} for n in range(ROWS)]
    body = STOCKTWITS | {"messages": messages, "cursor": {"more": False, "since": None, "max": None}}
    return Case(options(assets=(Asset("BTC", "BTC.X"),)), always(body))


def telegram_page() -> Case:
    page = TELEGRAM.replace("AI Text Editor.", "Bitcoin.").encode()
    message = MESSAGES.search(page)
    assert message is not None
    messages = b"".join(
        message[0].replace(b"telegram/435", b"telegram/%d" % (435 + n)).replace(b"Bitcoin.", b"Bitcoin chart%d." % n)
        for n in range(5)
    )
    return Case(options(channels=("telegram",)), always(page.replace(message[0], messages)), pattern=MESSAGES)


# --- transfers -----------------------------------------------------------------------------------------------------------


def alerts() -> Case:
    status = real("whale_alert/v1_status.json").read_bytes()
    page: Any = load("whale_alert/v1_transactions.json")
    large = [row for row in page["transactions"] if row["amount_usd"] >= 1_000_000][:ROWS]
    return Case(
        options(plan="v1", secret={"api_key": "k"}),
        always(status, page | {"transactions": large, "count": len(large)}),
        selects=True,
    )


def bitcoin_blocks() -> Case:
    transactions: Any = load("mempool_space/transactions-random.json")

    def start() -> Answer:
        server = MempoolSpace(transactions)
        for height in range(TIP - 15, TIP - 1):
            server.add(height, f"a{height}")
        server.add(TIP - 1, "bb", transactions[0]["txid"], transactions[1]["txid"])
        server.add(TIP, "00000000000000000002a0b5db2a7f8d9087464c2586b546be7bce8eb53b8187", transactions[3]["txid"])
        return server

    return Case(options(min_usd=1), start, prices={"BTC": "60000000"}, apart=False)


def ethereum_blocks() -> Case:
    assets = (Asset("ETH", whale_ethereum.ETHER), Asset("MKR", f"{MKR}/18"))

    def start() -> Answer:
        server = Etherscan(REAL)
        server.ether[FIRST] = [server.block["transactions"][0] | {"value": hex(2500 * 10**18), "hash": "0x1"}]
        return server

    return Case(
        options(plan="etherscan", secret={"apikey": "k"}, assets=assets), start, prices={"ETH": "470", "MKR": "430"}, apart=False
    )


CASES: dict[str, Callable[[], Case]] = {
    "alphavantage": alpha_vantage,
    "alternative_me": alternative,
    "blockchain_com": blockchain,
    "cboe": cboe_days,
    "coingecko": coins,
    "coinmetrics": coin_metrics,
    "etherscan": etherscan_figures,
    "fred": fred_series,
    "glassnode": glass_node,
    "lunarcrush": lunar_crush,
    "mastodon": mastodon_posts,
    "mempool_space": mempool,
    "moralis": moralis_holders,
    "news_binance": binance_news,
    "news_bitcoinmagazine": feed,
    "news_coindesk": feed,
    "news_cointelegraph": feed,
    "news_cryptopanic": crypto_panic,
    "news_decrypt": feed,
    "news_okx": okx_news,
    "news_theblock": feed,
    "reddit": reddit_posts,
    "stocktwits": stocktwits_messages,
    "stooq": stooq_days,
    "telegram": telegram_page,
    "whale_alert": alerts,
    "whale_bitcoin": bitcoin_blocks,
    "whale_ethereum": ethereum_blocks,
    "yahoo": yahoo_chart,
}
assert CASES.keys() == set(registry.pollers()), "each poller has a case"


# --- histories -----------------------------------------------------------------------------------------------------------


def past(name: str, first: int = 0, last: int | None = None) -> Case:
    """All of the past, from the bodies of the turn with these numbers."""
    turn = CASES[name]()
    answer = turn.answer()
    bodies = [answer("") for _ in range(last or 0)]
    return replace(turn, answer=always(*bodies[first:]) if bodies else turn.answer, cursor="", span=(0, turn.now))


def past_coins() -> Case:
    body = load("coingecko/hourly_historical_prices_for_one_coin.json")["body"]  # type: ignore[index]
    chart = {name: points[:ROWS] for name, points in body.items()}
    return Case(options(assets=(BTC,)), always(chart), joined=frozenset([0, 1]), span=(0, NOW))


def past_blocks(name: str, first: int, blocks: int) -> Case:
    """The blocks from the time `first` (seconds) on, each of at most ten minutes."""
    return replace(CASES[name](), span=(first * SECOND, (first + 600 * blocks) * SECOND))


HISTORIES: dict[str, Callable[[], Case]] = {
    f"{name} history": partial(past, name)
    for name in (
        *("alphavantage", "alternative_me", "blockchain_com", "cboe", "coinmetrics", "fred", "glassnode", "mempool_space"),
        *("stooq", "yahoo"),
    )
} | {
    "coingecko history": past_coins,
    "etherscan history": partial(past, "etherscan", 3, 5),
    "lunarcrush history": partial(past, "lunarcrush", 1, 2),
    "whale_bitcoin history": partial(past_blocks, "whale_bitcoin", TIME - 600, 2),
    "whale_ethereum history": partial(past_blocks, "whale_ethereum", FIRST_TIME, 1),
}
WITH_HISTORY = {name for name, module in registry.pollers().items() if hasattr(module, "history")}
assert {name.removesuffix(" history") for name in HISTORIES} == WITH_HISTORY, "each history has a case"
