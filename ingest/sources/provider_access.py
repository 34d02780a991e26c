"""The access to a provider under its settings: the plan, the options for its module, the HTTP client, the budget and the key.

Every request counts against the monthly budget, also a failed one. The daemon and the backfills share that count.
"""

from __future__ import annotations

import asyncio
import base64
import re

import aiohttp
from msgspec.structs import replace

from ingest.config.sections import PollerSection
from ingest.errors import Retry
from ingest.polling.provider import Plan, PollOptions, Provider
from ingest.protocol.decode import Malformed
from ingest.sources.address_labels import read_labels
from ingest.sources.poll_plan import assets_of, plan_name, plan_of, rate_of
from ingest.sources.sentiment_vader import score
from ingest.store.poll_state import reserve_request, store_assets
from ingest.store.pool import Pool
from ingest.transports.client import open_client
from ingest.transports.http import Http

REDACTED = "***"  # replaces a key
_ENTITIES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&apos;"))


class ProviderAccess:
    """One provider with its settings. `disabled` is the reason why it is not used, '' if it is used."""

    def __init__(self, name: str, module: Provider, section: PollerSection) -> None:
        self.name = name
        self.module = module
        self.section = section
        self.plan, self.disabled = plan_of(module, section)
        self._key = section.api_key.get_secret_value() if section.api_key else ""
        self._echoes = re.compile(_echoes(self._key)) if self._key else None
        self._echoes_in_bytes = re.compile(_echoes(self._key).encode()) if self._key else None

    async def options(self, pool: Pool) -> PollOptions:
        """The options for the provider's module. Raises Stop for a coin whose id is not known or a file of labels that is wrong."""
        section, plan, module = self.section, self.plan, self.module
        labels = await asyncio.to_thread(read_labels, section.labels) if section.labels else {}
        options = PollOptions(
            base_url=section.base_url or plan.base_url,
            plan=plan_name(module, section),
            channels=section.channels or getattr(module, "CHANNELS", ()),
            score=score,
            min_usd=section.min_usd,
            labels=labels,
        )
        if plan.key and self._key:
            key = {plan.key: self._key}
            options = replace(options, headers=key) if plan.key_in == "header" else replace(options, secret=key)
        if not module.ASSETS:
            return options
        assets = assets_of(self.name, module, section)
        if "prices" not in module.TABLES:  # only rows of `prices` have an asset_id
            return replace(options, assets=tuple(assets))
        async with pool.acquire() as connection:
            return replace(options, assets=await store_assets(connection, assets))

    def open_client(self) -> aiohttp.ClientSession:
        """An HTTP client, behind the proxy of the settings if there is one. The caller closes it."""
        return open_client(self.section.proxy.get_secret_value() if self.section.proxy else None)

    def http(self, client: aiohttp.ClientSession, plan: Plan | None = None) -> Http:
        """Requests within the budget of a minute of `plan`, by default the chosen plan."""
        return Http(
            client,
            rate=rate_of(plan or self.plan),
            alternative=f"pollers.{self.name}.base_url",
            seconds=self.section.timeout.total_seconds(),
        )

    async def spend(self, pool: Pool) -> int:
        """Count one request before it is made. Returns the count of this month. Raises Retry where the monthly budget is spent."""
        async with pool.acquire() as connection:
            number = await reserve_request(connection, self.name, self.plan.per_month)
        if number is None:
            budget = f"{self.plan.per_month} requests a month"
            raise Retry(f"the budget of {budget} is spent (pollers.{self.name}.budget.per_month)", after=3600.0)
        return number

    def redacted(self, text: str) -> str:
        """The text without the key: some providers repeat the key in their error messages, and some encode it there."""
        return self._echoes.sub(REDACTED, text) if self._echoes else text

    def redacted_bytes(self, payload: bytes) -> bytes:
        """As `redacted`, for a body."""
        return self._echoes_in_bytes.sub(REDACTED.encode(), payload) if self._echoes_in_bytes else payload

    def redacted_element(self, bad: Malformed) -> Malformed:
        """As `redacted`, for an element that could not be read."""
        return Malformed(self.redacted_bytes(bad.payload), bad.reason, self.redacted(bad.message))


def _echoes(key: str) -> str:
    """A regular expression of the key in plain text or base64, each character plain or encoded as in a URL, HTML or JSON."""
    plain = "".join(map(_spellings, key))
    encoded = {base64.b64encode(text.encode()).decode().rstrip("=") for text in (key, f":{key}", f"{key}:")}
    in_urls = {text.replace("+", "-").replace("/", "_") for text in encoded}
    return "|".join([plain, *sorted(map(re.escape, encoded | in_urls), key=len, reverse=True)])


def _spellings(character: str) -> str:
    """A regular expression of one character. Each alternative begins differently or is tried after the longer one."""
    octets = character.encode()
    forms = ["".join(f"%(?:25)?{octet:02x}" for octet in octets), f"&#0*{ord(character)};", f"&#x0*{ord(character):x};"]
    forms += [re.escape(entity) for name, entity in _ENTITIES if name == character]
    units = character.encode("utf-16-be").hex()
    forms.append("".join(rf"\\u{units[start : start + 4]}" for start in range(0, len(units), 4)))
    if character in '"/\\':
        forms.append(re.escape(f"\\{character}"))
    if character == " ":
        forms.append(re.escape("+"))
    return f"(?:(?i:{'|'.join(forms)})|{re.escape(character)})"
