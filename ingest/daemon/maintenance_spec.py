"""The specification of the maintenance tasks, derived from the settings.

It is separate from the tasks, because `ingest check` validates it and runs none of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from ingest import registry
from ingest.config.settings import Settings
from ingest.indicators.names import parse
from ingest.protocol.exchange import CompletenessRules
from ingest.store.indicators import Selection
from ingest.store.policies import Desired, plan
from ingest.tables import INDICATORS


class MaintenanceSpec(Struct, frozen=True):
    """Policies, the audit's rules by source, the indicators to compute, and the exchanges that each platform's views read."""

    policies: Desired
    completeness: dict[str, CompletenessRules]
    indicators: Selection = Selection((), ())
    platforms: Mapping[str, tuple[str, ...]] = {}  # platform -> exchanges in order of preference


def maintenance_spec(settings: Settings) -> MaintenanceSpec:
    """Derives the specification. Raises Stop if compression and retention contradict each other."""
    policies = Desired(retention=settings.retention, compress_after=settings.compress_after)
    plan(policies)
    known = registry.exchanges()
    protocols = {name: section.protocol or name for name, section in settings.exchanges.items()}
    # an exchange that is only backfilled through ccxt has no module
    modules = {name: known[protocol] for name, protocol in protocols.items() if protocol in known}
    # a module of another package may be older than this attribute
    completeness = {name: getattr(module, "COMPLETENESS", CompletenessRules()) for name, module in modules.items()}
    readers = {name: section.exchanges for name, section in settings.platforms.items()}
    return MaintenanceSpec(policies, completeness, indicator_selection(settings), readers)


def indicator_selection(settings: Settings) -> Selection:
    """The configured indicators, and the candles from which they are computed."""
    section = settings.indicators
    return Selection(
        specs=tuple(map(parse, section.names)),
        intervals=section.intervals,
        exchanges=section.exchanges,
        instruments=section.instruments,
        kept=settings.retention[INDICATORS.name],
    )
