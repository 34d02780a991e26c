"""Checks that the exchanges, providers, plans, platforms, channels and instruments in the settings exist.

This imports the modules of the configured exchanges and providers.
"""

from __future__ import annotations

from ingest import registry
from ingest.config.sections import ExchangeSection, Indicators, PlatformSection, PollerSection
from ingest.config.settings import Settings
from ingest.errors import Stop
from ingest.protocol.exchange import Exchange

READING_EXCHANGES = ("ai_trading", "mastertrade")  # platforms whose views read one exchange per symbol


def check_sources(settings: Settings) -> None:
    """Raises Stop for the first setting with an unknown or repeated name. The message names the setting and the known names."""
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
            raise Stop(f"pollers.{name}.plan: unknown plan '{section.plan}'; known: {', '.join(known[name].PLANS)}")
        if section.channels and not hasattr(known[name], "CHANNELS"):
            with_channels = ", ".join(sorted(other for other, module in known.items() if hasattr(module, "CHANNELS")))
            raise Stop(f"pollers.{name}.channels: this provider has no channels; providers with channels: {with_channels}")


def _check_platforms(platforms: dict[str, PlatformSection], exchanges: dict[str, ExchangeSection]) -> None:
    for name, section in platforms.items():
        if name not in READING_EXCHANGES:
            known = ", ".join(READING_EXCHANGES)
            raise Stop(f"platforms: '{name}' is not a platform whose views read exchanges; known: {known}")
        for exchange in section.exchanges:
            if exchange not in (*exchanges, *registry.exchanges()) and not registry.is_of_ccxt(exchange):
                known = ", ".join(sorted(registry.exchanges()))
                raise Stop(f"platforms.{name}.exchanges: unknown exchange '{exchange}'; known: {known}")
        if twice := [exchange for exchange in section.exchanges if section.exchanges.count(exchange) > 1]:
            raise Stop(f"platforms.{name}.exchanges: '{twice[0]}' is listed more than once")


def _check_indicators(section: Indicators, exchanges: dict[str, ExchangeSection]) -> None:
    for name in section.exchanges:
        if name not in exchanges:
            raise Stop(f"indicators.exchanges: no section [exchanges.{name}]; known: {', '.join(exchanges) or 'none'}")
    known = {instrument for name in section.exchanges or exchanges for instrument in exchanges[name].instruments}
    for instrument in section.instruments:
        if instrument not in known:
            names = ", ".join(sorted(known)) or "none"
            raise Stop(f"indicators.instruments: '{instrument}' is configured for no exchange; known: {names}")


def _check_exchange(name: str, section: ExchangeSection, module: Exchange) -> None:
    for channel in section.channels:
        if channel not in module.CHANNELS:
            raise Stop(f"exchanges.{name}.channels: unknown channel '{channel}'; known: {', '.join(module.CHANNELS)}")
    if section.trade_kind not in (None, *module.TRADE_KINDS):
        known = ", ".join(module.TRADE_KINDS)
        raise Stop(f"exchanges.{name}.trade_kind: unknown trade kind '{section.trade_kind}'; known: {known}")


def _check_instruments(name: str, section: ExchangeSection) -> None:
    if not section.instruments:
        raise Stop(f'exchanges.{name}.instruments: is empty; right would be ["BTC/USDT"]')
    for key, values in (("instruments", section.instruments), ("channels", section.channels)):
        if twice := [value for value in values if values.count(value) > 1]:
            raise Stop(f"exchanges.{name}.{key}: '{twice[0]}' is listed more than once")
