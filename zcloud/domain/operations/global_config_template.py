"""Global configuration template: values of many settings for a scenario, set at once (UI-04)."""

from __future__ import annotations

from typing import Any

import msgspec

from zcloud.domain.operations.settings import known
from zcloud.kernel.errors import invalid
from zcloud.kernel.event import Event
from zcloud.kernel.resource import Creation, Resource


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One setting. value: None for the default."""

    category: str
    name: str
    value: str | None = None


class GlobalConfigTemplate(Resource, kind="global_config_template"):
    """What it names is held against what settings may be when it is made, and again when it is applied."""

    shareable = False

    entries: tuple[Entry, ...] = ()

    class Created(Creation):
        """It was written down; nothing is set yet."""

        entries: tuple[Entry, ...]

    class EntriesChanged(Event):
        """It sets something else from now on."""

        entries: tuple[Entry, ...]

        def apply(self, aggregate: Any) -> None:
            aggregate.entries = self.entries

    def create(self, *, name: str, entries: tuple[dict[str, str], ...], description: str = "") -> None:
        """Raises INVALID_ARGUMENT for what no setting is or may be."""
        found = _entries(entries)
        self.trigger(self.Created(name=name, description=description, account_uuid=self.account_uuid, entries=found))

    def update(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        entries: tuple[dict[str, str], ...] = (),
    ) -> None:
        """No entries: they stay."""
        super().update(name=name, description=description)
        found = _entries(entries)
        if found and found != self.entries:
            self.trigger(self.EntriesChanged(entries=found))


def _entries(given: tuple[dict[str, str], ...]) -> tuple[Entry, ...]:
    found: dict[tuple[str, str], Entry] = {}
    for fields in given:
        entry = Entry(fields["category"], fields["name"], fields.get("value"))
        setting = known(entry.category, entry.name)
        if entry.value is not None:
            setting.must_take(entry.value)
        if (entry.category, entry.name) in found:
            raise invalid("entries", f"{entry.category}/{entry.name}", "must be named once")
        found[entry.category, entry.name] = entry
    return tuple(found.values())
