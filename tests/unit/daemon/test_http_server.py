"""The HTTP server of the daemon, over a real port."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingest.daemon.http_server import Server, listen
from ingest.errors import Stop
from ingest.metrics import Metrics

STATUS: dict[str, Any] = {
    "daemon": {"name": "<b>one</b>", "detail": ["a & b", "<script>alert(1)</script>"]},
    "sources": {"kraken": {"last_error": "{'x': \"<img>\"}", "connections": 2}},
    "queues": {},
    "nothing": None,
}


class Bench:
    def __init__(self, host: str = "127.0.0.1") -> None:
        self.metrics = Metrics()
        self.dead: list[str] = []
        self.unready: list[str] = []
        self.server = self.make(0, host)

    def make(self, port: int, host: str) -> Server:
        listener = listen(host, port)
        return Server(
            listener,
            metrics=self.metrics,
            status=lambda: STATUS,
            stuck=lambda: self.dead,
            unready=lambda: self.unready,
            hosts=("Ingest.example",),
        )

    async def get(self, path: str) -> tuple[int, str, str]:
        async with aiohttp.ClientSession() as client, client.get(self.server.url + path) as answer:
            return answer.status, answer.headers["Content-Type"], await answer.text()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    async with bench.server.serving():
        yield bench


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_all_is_well(bench: Bench, path: str) -> None:
    assert await bench.get(path) == (200, "text/plain; charset=utf-8", "ok\n")


async def test_each_problem_is_a_line_of_the_response(bench: Bench) -> None:
    bench.dead = ["trades: the writer has done nothing for 200 s"]
    assert (await bench.get("/livez"))[::2] == (503, "trades: the writer has done nothing for 200 s\n")
    assert (await bench.get("/readyz"))[0] == 200
    bench.unready = ["stopping", "trades: held: é"]
    assert (await bench.get("/readyz"))[::2] == (503, "stopping\ntrades: held: é\n")


async def test_metrics(bench: Bench) -> None:
    bench.metrics.counters.tallies["trades"].written = 7
    status, kind, text = await bench.get("/metrics")
    assert (status, kind.split(";")[0]) == (200, "text/plain")
    samples = {sample.name: sample for family in text_string_to_metric_families(text) for sample in family.samples}
    assert (samples["ingest_rows_written_total"].labels, samples["ingest_rows_written_total"].value) == ({"table": "trades"}, 7)


async def test_status_as_json(bench: Bench) -> None:
    status, kind, text = await bench.get("/status")
    assert (status, kind) == (200, "application/json")
    assert json.loads(text) == STATUS


async def test_the_page_shows_everything_and_escapes_it(bench: Bench) -> None:
    status, kind, text = await bench.get("/")
    assert (status, kind) == (200, "text/html; charset=utf-8")
    assert "<th>name</th><td>&lt;b&gt;one&lt;/b&gt;</td>" in text
    assert "<td>a &amp; b<br>&lt;script&gt;alert(1)&lt;/script&gt;</td>" in text
    assert "<td>{&#x27;x&#x27;: &quot;&lt;img&gt;&quot;}</td>" in text
    assert [text.count(f"<h2>{name}</h2>") for name in STATUS] == [1, 1, 1, 1]
    assert "<script" not in text
    assert "<b>" not in text


async def test_an_unknown_path_is_not_found(bench: Bench) -> None:
    assert (await bench.get("/nothing"))[0] == 404


async def test_a_port_that_is_taken(bench: Bench) -> None:
    port = int(bench.server.url.rsplit(":", 1)[1])
    message = f"server.port: 127.0.0.1:{port}: .*ddress already in use.*; right would be a free port of this host, or 0 for any"
    with pytest.raises(Stop, match=message):
        bench.make(port, "127.0.0.1")
    assert (await bench.get("/livez"))[0] == 200


def test_an_address_that_is_not_of_this_host() -> None:
    with pytest.raises(Stop, match=r"server.port: 192\.0\.2\.1:0: "):
        listen("192.0.2.1", 0)


async def test_the_url_of_an_ipv6_host_can_be_requested() -> None:
    try:
        bench = Bench("::1")
    except Stop as error:
        pytest.skip(f"no IPv6 here: {error}")
    assert bench.server.url.startswith("http://[::1]:")
    async with bench.server.serving():
        assert (await bench.get("/livez"))[0] == 200


async def test_connections_are_refused_after_the_end() -> None:
    bench = Bench()
    async with bench.server.serving():
        pass
    with pytest.raises(aiohttp.ClientConnectorError):
        await bench.get("/livez")
