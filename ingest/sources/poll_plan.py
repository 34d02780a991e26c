"""What a configuration will ask of its providers, for `ingest check`: each with its plan and interval, or why it is disabled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ingest import registry
from ingest.config.sections import PollerSection
from ingest.sources.address_labels import read_labels
from ingest.sources.poller import assets_of, interval_of, plan_name, plan_of


def outlook(pollers: Mapping[str, PollerSection]) -> Iterator[str]:
    """A line for each. Raises Stop for coins that are not clear and for a file of labels that cannot be read."""
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
