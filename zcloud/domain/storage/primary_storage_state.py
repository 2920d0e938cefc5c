"""States of a primary storage: which event leads where, and what each state lets callers do (behaviours 4)."""

from __future__ import annotations

import enum


class PrimaryStorageState(enum.Enum):
    """The administrator's decision; new volumes need Enabled."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"
    MAINTENANCE = "Maintenance"
    DELETING = "Deleting"


class PrimaryStorageEvent(enum.Enum):
    """What moves it; deleting is the delete job's own, which a failed delete takes back."""

    ENABLE = "enable"
    DISABLE = "disable"
    MAINTAIN = "maintain"
    DELETING = "deleting"


_LEADS = {
    PrimaryStorageEvent.ENABLE: PrimaryStorageState.ENABLED,
    PrimaryStorageEvent.DISABLE: PrimaryStorageState.DISABLED,
    PrimaryStorageEvent.MAINTAIN: PrimaryStorageState.MAINTENANCE,
    PrimaryStorageEvent.DELETING: PrimaryStorageState.DELETING,
}
# Out of Deleting only the end of the job leads: to what it was before.
TABLE: dict[tuple[PrimaryStorageState, PrimaryStorageEvent], PrimaryStorageState] = {
    (state, event): to
    for state in PrimaryStorageState
    for event, to in _LEADS.items()
    if state is not PrimaryStorageState.DELETING
}

# Something new comes to lie there: a volume, a cached image, the file of a template.
TAKES_NEW = frozenset({PrimaryStorageState.ENABLED})
# What lies there grows: a snapshot is taken, a volume is resized.
GROWS = frozenset({PrimaryStorageState.ENABLED, PrimaryStorageState.DISABLED})
# What lies there is used or removed: VMs start, volumes are attached and reverted, files are deleted. A storage that is
# being deleted still loses its files.
SERVES = frozenset(PrimaryStorageState) - {PrimaryStorageState.MAINTENANCE}
