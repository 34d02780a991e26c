"""What the settings ask of the maintenance: policies, indicators, the audit's rules, and the exchanges that answer for a platform.

A module of its own, because `ingest check` validates this and does none of the work.
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
    """What the settings ask of the duties: policies, and an audit of these sources against what their exchanges say."""

    policies: Desired
    evidence: dict[str, CompletenessRules]
    indicators: Selection = Selection((), ())
    platforms: Mapping[str, tuple[str, ...]] = {}  # which exchanges answer for each


def desired_policies(settings: Settings) -> MaintenanceSpec:
    """What the settings ask for. Raises Stop where compression and retention contradict each other."""
    desired = Desired(retention=settings.retention, compress_after=settings.compress_after)
    plan(desired)
    known = registry.exchanges()
    protocols = {name: section.protocol or name for name, section in settings.exchanges.items()}
    modules = {name: known[protocol] for name, protocol in protocols.items() if protocol in known}  # not what is only backfilled
    # a module of another package may be older than this word
    evidence = {name: getattr(module, "COMPLETENESS", CompletenessRules()) for name, module in modules.items()}
    answering = {name: section.exchanges for name, section in settings.platforms.items()}
    return MaintenanceSpec(desired, evidence, selected(settings), answering)


def selected(settings: Settings) -> Selection:
    """The indicators that the settings ask for."""
    section = settings.indicators
    return Selection(
        specs=tuple(map(parse, section.names)),
        intervals=section.intervals,
        exchanges=section.exchanges,
        instruments=section.instruments,
        kept=settings.retention[INDICATORS.name],
    )
