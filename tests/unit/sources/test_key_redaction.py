"""The key of a provider is struck from its messages and bodies, however the provider encodes it."""

from __future__ import annotations

import base64
import html
import json
import time
from urllib.parse import quote, quote_plus

import pytest
from pydantic import SecretStr

from ingest.config.sections import PollerSection
from ingest.pollers import coingecko
from ingest.sources.provider_access import ProviderAccess

KEY = "a+b/c=d&e \\\"<'1 é😀Z"


def access(key: str) -> ProviderAccess:
    return ProviderAccess("coingecko", coingecko, PollerSection(api_key=SecretStr(key)))


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ECHOES = [
    KEY,
    quote(KEY),
    quote(KEY, safe=""),
    quote(KEY, safe="+="),
    quote_plus(KEY),
    quote(KEY, safe="").lower().replace("z", "Z"),
    quote(quote(KEY, safe=""), safe=""),
    html.escape(KEY),
    html.escape(KEY, quote=False),
    "".join(f"&#{ord(character)};" for character in KEY),
    "".join(f"&#x{ord(character):04X};" for character in KEY),
    json.dumps(KEY)[1:-1],
    json.dumps(KEY, ensure_ascii=False)[1:-1],
    json.dumps(KEY)[1:-1].replace("/", "\\/"),
    in_base64(KEY),
    in_base64(KEY).rstrip("="),
    in_base64(f":{KEY}"),
    in_base64(f"{KEY}:").rstrip("="),
    base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("="),
]


@pytest.mark.parametrize("echo", ECHOES)
def test_a_key_is_struck_in_every_encoding(echo: str) -> None:
    text = f'{{"error":"the key {echo}"}}'
    struck = access(KEY).redacted(text).replace("=", "")
    assert struck == '{"error":"the key ***"}'
    assert access(KEY).redacted_bytes(text.encode()).replace(b"=", b"") == struck.encode()


def test_nothing_else_is_struck() -> None:
    text = "a+b/c is no key, A%2BB neither"
    assert access("a+b/c=d").redacted(text) == text
    assert access("").redacted(text) == text
    assert access("Abc").redacted("abc ABC") == "abc ABC"
    assert access("key*").redacted("key keyy key*") == "key keyy ***"


def test_a_long_body_of_near_misses_takes_linear_time() -> None:
    body = b"%25" * 300_000 + b"&#0" * 100_000
    started = time.process_time()
    assert access("%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%a").redacted_bytes(body) == body
    assert time.process_time() - started < 5
