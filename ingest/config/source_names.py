"""Checks the names in the settings: that the exchanges, providers, platforms, channels and instruments they mention exist.

This imports the modules of the exchanges and providers that are named.
"""

from __future__ import annotations

from ingest import registry
from ingest.config.sections import ExchangeSection, Indicators, PlatformSection, PollerSection
from ingest.config.settings import Settings
from ingest.errors import Stop
from ingest.protocol.exchange import Exchange

READING_EXCHANGES = ("ai_trading", "mastertrade")  # the platforms whose views read from one exchange per symbol


def check_sources(settings: Settings) -> None:
    """Raises Stop for an exchange, provider or platform that there is none of, and for what one of them does not have."""
    _check_exchanges(settings.exchanges)
    _check_indicators(settings.indicators, settings.exchanges)
    _check_pollers(settings.pollers)
    _check_platforms(settings.platforms, settings.exchanges)


def _check_exchanges(exchanges: dict[str, ExchangeSection]) -> None:
    known = registry.exchanges()
    for name, section in exchanges.items():
        protocol = section.protocol or name
        if protocol in known:
            _check_exchange(name, section, known[protocol])
        elif not registry.is_of_ccxt(protocol):
            raise Stop(f"exchanges: unknown exchange '{protocol}'; known: {', '.join(sorted(known))}")
        _check_instruments(name, section)


def _check_pollers(pollers: dict[str, PollerSection]) -> None:
    known = registry.pollers()
    for name, section in pollers.items():
        if name not in known:
            raise Stop(f"pollers: unknown poller '{name}'; known: {', '.join(sorted(known))}")
        if section.plan not in (None, *known[name].PLANS):
            raise Stop(f"{name}: unknown plan '{section.plan}'; known: {', '.join(known[name].PLANS)}")
        if section.channels and not hasattr(known[name], "CHANNELS"):
            having = ", ".join(sorted(one for one, module in known.items() if hasattr(module, "CHANNELS")))
            raise Stop(f"{name}: it has no channels; these have: {having}")


def _check_platforms(platforms: dict[str, PlatformSection], exchanges: dict[str, ExchangeSection]) -> None:
    for name, section in platforms.items():
        if name not in READING_EXCHANGES:
            known = ", ".join(READING_EXCHANGES)
            raise Stop(f"platforms: '{name}' is no platform that reads what exchanges say; those are: {known}")
        for exchange in section.exchanges:
            if exchange not in (*exchanges, *registry.exchanges()) and not registry.is_of_ccxt(exchange):
                raise Stop(f"platforms.{name}: unknown exchange '{exchange}'; known: {', '.join(sorted(registry.exchanges()))}")
        if twice := [one for one in section.exchanges if section.exchanges.count(one) > 1]:
            raise Stop(f"platforms.{name}: exchanges has '{twice[0]}' more than once")


def _check_indicators(section: Indicators, exchanges: dict[str, ExchangeSection]) -> None:
    for name in section.exchanges:
        if name not in exchanges:
            raise Stop(f"indicators.exchanges: no section [exchanges.{name}]; known: {', '.join(exchanges) or 'none'}")
    known = {one for name in section.exchanges or exchanges for one in exchanges[name].instruments}
    for one in section.instruments:
        if one not in known:
            raise Stop(f"indicators.instruments: no exchange has '{one}'; known: {', '.join(sorted(known)) or 'none'}")


def _check_exchange(name: str, section: ExchangeSection, module: Exchange) -> None:
    for channel in section.channels:
        if channel not in module.CHANNELS:
            raise Stop(f"{name}: unknown channel '{channel}'; known: {', '.join(module.CHANNELS)}")
    if section.trade_kind not in (None, *module.TRADE_KINDS):
        raise Stop(f"{name}: unknown trade_kind '{section.trade_kind}'; known: {', '.join(module.TRADE_KINDS)}")


def _check_instruments(name: str, section: ExchangeSection) -> None:
    if not section.instruments:
        raise Stop(f'{name}: instruments is empty; right would be ["BTC/USDT"]')
    for key, values in (("instruments", section.instruments), ("channels", section.channels)):
        if twice := [one for one in values if values.count(one) > 1]:
            raise Stop(f"{name}: {key} has '{twice[0]}' more than once")
