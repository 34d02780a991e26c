"""Recognises an HTML page where data is expected: a notice, a login, a check of the browser."""

from __future__ import annotations

import re

from ingest.errors import Reject
from ingest.text.plain_text import plain_text

HEAD = 4096  # bytes that are searched
_PAGE = re.compile(rb"\s*(?:<!doctype\s+html|<html|<head|<body)\b", re.IGNORECASE)
_TITLE = re.compile(rb"<title\b[^<>]*>([^<]*)", re.IGNORECASE)
# a script that computes hashes: the reader must prove work before it gets the data
_PROOF_OF_WORK = re.compile(rb"/__verify\b|\bcrypto\.subtle\.digest", re.IGNORECASE)


def refuse_page(body: bytes, reason: str = "shape", detail: str = "") -> None:
    """Raises Reject if the body is an HTML page; `detail` begins its message.

    The reason is `http` with code 403 for a page that demands a proof of work by a browser: it refuses programs.
    """
    head = body[:HEAD].removeprefix(b"\xef\xbb\xbf")
    if _PAGE.match(head) is None:
        return
    if _PROOF_OF_WORK.search(body):
        message = "the answer is a page that demands a proof of work by a browser, not data: programs are refused"
        raise Reject(f"{detail}{message}", reason="http", code="403")
    found = _TITLE.search(head)
    title = plain_text(found[1].decode("utf-8", "replace"))[:80] if found else ""
    raise Reject(f"{detail}the answer is an HTML page with the title '{title}', not data", reason=reason)
