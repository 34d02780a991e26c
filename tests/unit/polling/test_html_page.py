"""HTML pages where data is expected."""

from __future__ import annotations

import pytest

from ingest.errors import Reject
from ingest.polling.html_page import refuse_page

PROOF = b"""<!DOCTYPE html><html><head><title>Verify</title></head><body><script>async function solve() {
  const hash = await crypto.subtle.digest("SHA-256", bytes); fetch("/__verify", {method: "POST"}) }</script></body></html>"""


@pytest.mark.parametrize("body", [b"", b"Date,Open\n", b'{"html": "<html>"}', b"<rss/>", b"<htmlx>"])
def test_data_is_no_page(body: bytes) -> None:
    refuse_page(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<!DOCTYPE html>", "an HTML page with the title ''"),
        (b"\n <HTML><head><title>\n Just a &amp; moment </title>", "an HTML page with the title 'Just a & moment'"),
        (b"\xef\xbb\xbf<html><title>" + b"x" * 500, "the title '" + "x" * 80 + "'"),
    ],
)
def test_a_page_is_rejected_with_its_title(body: bytes, message: str) -> None:
    with pytest.raises(Reject, match=message) as refused:
        refuse_page(body, "json", "2:1: ")
    assert (refused.value.reason, refused.value.code, str(refused.value)[:5]) == ("json", "", "2:1: ")


def test_a_page_that_demands_a_proof_of_work_refuses_programs() -> None:
    with pytest.raises(Reject, match="proof of work") as refused:
        refuse_page(PROOF)
    assert (refused.value.reason, refused.value.code) == ("http", "403")
