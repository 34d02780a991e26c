"""The access to a provider under its settings: the plan, the options for its module, the HTTP client, the budget and the key.

Every request counts against the monthly budget, also a failed one. The daemon and the backfills share that count.
"""

from __future__ import annotations

import asyncio

import aiohttp
from msgspec.structs import replace

from ingest.config.sections import PollerSection
from ingest.errors import Retry
from ingest.polling.provider import Plan, PollOptions, Provider
from ingest.sources.address_labels import read_labels
from ingest.sources.poll_plan import assets_of, plan_name, plan_of, rate_of
from ingest.sources.sentiment_vader import score
from ingest.store.poll_state import reserve_request, store_assets
from ingest.store.pool import Pool
from ingest.transports.client import open_client
from ingest.transports.http import Http

REDACTED = "***"  # replaces a key


class ProviderAccess:
    """One provider with its settings. `disabled` is the reason why it is not used, '' if it is used."""

    def __init__(self, name: str, module: Provider, section: PollerSection) -> None:
        self.name = name
        self.module = module
        self.section = section
        self.plan, self.disabled = plan_of(module, section)
        self._key = section.api_key.get_secret_value() if section.api_key else ""

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
        """The text without the key: some providers repeat the key in their error messages."""
        return text.replace(self._key, REDACTED) if self._key else text

    def redacted_bytes(self, payload: bytes) -> bytes:
        """As `redacted`, for a body."""
        return payload.replace(self._key.encode(), REDACTED.encode()) if self._key else payload
