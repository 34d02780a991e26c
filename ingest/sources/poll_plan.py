"""Derives from the configuration how a provider is polled: the plan, the interval, the coins, and whether it is disabled.

The interval follows from the plan's budget: at one request a minute, 10,000 requests a month would last a week.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from ingest import registry
from ingest.config.sections import PollerSection
from ingest.errors import Stop
from ingest.polling.provider import Plan, Provider
from ingest.protocol.exchange import Rate
from ingest.records import Asset
from ingest.sources.address_labels import read_labels

MONTH_SECONDS = 31 * 86_400


def plan_name(module: Provider, section: PollerSection) -> str:
    """The plan that the settings name; else the first plan that needs a key if the settings have one, or that needs none if not."""
    fitting = [name for name, plan in module.PLANS.items() if bool(plan.key) == (section.api_key is not None)]
    return section.plan or (fitting or list(module.PLANS))[0]


def plan_of(module: Provider, section: PollerSection) -> tuple[Plan, str]:
    """The chosen plan with the budget of the settings, and the reason why it is not used ('' if it is used)."""
    plan = module.PLANS[plan_name(module, section)]
    budget = section.budget
    plan = replace(plan, per_minute=budget.per_minute or plan.per_minute, per_month=budget.per_month or plan.per_month)
    if not (plan.default_on if section.enabled is None else section.enabled):
        return plan, f"not enabled: {plan.terms}"
    return plan, "no key" if plan.key and section.api_key is None else ""


def interval_of(plan: Plan, module: Provider, section: PollerSection) -> float:
    """The seconds between two turns, within the budget of a minute and that of a month."""
    interval = section.interval.total_seconds() if section.interval else plan.interval
    counts = {"turn": 1, "coin": len(symbols_of(module, section)), "channel": len(section.channels) or 1}
    requests = plan.requests * -(-counts[plan.per] // plan.batch)
    per_month = requests * MONTH_SECONDS / plan.per_month if plan.per_month else 0.0
    return max(interval, requests * 60 / plan.per_minute, per_month)


def rate_of(plan: Plan) -> Rate:
    """The rate of requests: the budget of a minute at once, or evenly spread."""
    return Rate(1, 60.0 / plan.per_minute) if plan.spread else Rate(plan.per_minute, 60.0)


def symbols_of(module: Provider, section: PollerSection) -> tuple[str, ...]:
    """The coins that the settings name, else `SYMBOLS` of the provider's module, else the default of the settings."""
    own: tuple[str, ...] = getattr(module, "SYMBOLS", section.symbols)
    return section.symbols if "symbols" in section.model_fields_set else own


def assets_of(name: str, module: Provider, section: PollerSection) -> list[Asset]:
    """The coins to request, each with the provider's id. Raises Stop if an id is not known or belongs to two symbols."""
    known, symbols = {**module.ASSETS, **section.ids}, symbols_of(module, section)
    for symbol in symbols:
        if symbol not in known:
            raise Stop(f"{name}: symbol '{symbol}' may be many coins; right would be ids = {{ {symbol} = \"the-id\" }}")
    twice = [coin for coin, count in Counter(known[symbol] for symbol in symbols).items() if count > 1]
    if twice:
        raise Stop(f"{name}: two symbols are the same coin '{twice[0]}'; right would be one symbol for each")
    return [Asset(symbol, known[symbol]) for symbol in symbols]


def describe_plans(pollers: Mapping[str, PollerSection]) -> Iterator[str]:
    """A line for each provider, for `ingest check`: its plan and interval, or the reason why it is disabled.

    Raises Stop for a coin whose id is not known and for a file of labels that cannot be read.
    """
    for name, section in pollers.items():
        module = registry.pollers()[name]
        plan, disabled = plan_of(module, section)
        if disabled:
            yield f"{name}: disabled: {disabled}"
            continue
        if module.ASSETS:
            assets_of(name, module, section)
        if section.labels is not None:
            read_labels(section.labels)
        yield f"{name}: plan {plan_name(module, section)}, every {interval_of(plan, module, section):.0f} s"
