"""States of a VM: which event leads from which state to which (VM-54), and what may be asked in which state."""

from __future__ import annotations

import enum

from zcloud.kernel.errors import invalid


class VmState(enum.Enum):
    """Stable ones first; in the others a job is at work."""

    CREATED = "Created"
    RUNNING = "Running"
    STOPPED = "Stopped"
    PAUSED = "Paused"
    DESTROYED = "Destroyed"
    UNKNOWN = "Unknown"
    CRASHED = "Crashed"
    NO_STATE = "NoState"
    ERROR = "Error"
    STARTING = "Starting"
    STOPPING = "Stopping"
    REBOOTING = "Rebooting"
    DESTROYING = "Destroying"
    MIGRATING = "Migrating"
    PAUSING = "Pausing"
    RESUMING = "Resuming"
    VOLUME_MIGRATING = "VolumeMigrating"
    VOLUME_RECOVERING = "VolumeRecovering"
    EXPUNGING = "Expunging"


# What a host can say of a VM; all else is known here only.
OBSERVED = {state.value: state for state in (
    VmState.RUNNING, VmState.PAUSED, VmState.STOPPED, VmState.CRASHED, VmState.NO_STATE
)}  # fmt: skip


def observed(text: str) -> VmState:
    """The state that a host has told; raises INVALID_ARGUMENT, since hosts may say anything."""
    if text not in OBSERVED:
        raise invalid("state", text, f"must be one of {', '.join(OBSERVED)}")
    return OBSERVED[text]


class VmEvent(enum.Enum):
    """What moves a VM from state to state."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    REBOOTING = "rebooting"
    PAUSING = "pausing"
    PAUSED = "paused"
    RESUMING = "resuming"
    DESTROYING = "destroying"
    DESTROYED = "destroyed"
    EXPUNGING = "expunging"
    MIGRATING = "migrating"
    MIGRATED = "migrated"
    VOLUME_MIGRATING = "volumeMigrating"
    VOLUME_MIGRATED = "volumeMigrated"
    VOLUME_RECOVERING = "volumeRecovering"
    VOLUME_RECOVERED = "volumeRecovered"
    CRASHED = "crashed"
    NO_STATE = "noState"
    UNKNOWN = "unknown"


# Here a job works on the VM, and the job says how that ends.
INTERMEDIATE = frozenset(
    {
        VmState.STARTING,
        VmState.STOPPING,
        VmState.REBOOTING,
        VmState.DESTROYING,
        VmState.MIGRATING,
        VmState.PAUSING,
        VmState.RESUMING,
        VmState.VOLUME_MIGRATING,
        VmState.VOLUME_RECOVERING,
        VmState.EXPUNGING,
    }
)
# Here no host has anything of the VM in its memory.
AT_REST = frozenset({VmState.CREATED, VmState.STOPPED, VmState.DESTROYED, VmState.EXPUNGING})

_HOST = "noState->NoState unknown->Unknown"
_TEXT = {
    "Created": "starting->Starting destroying->Destroying destroyed->Destroyed",
    "Starting": "running->Running stopped->Stopped paused->Paused destroying->Destroying unknown->Unknown",
    "Running": "running->Running stopping->Stopping stopped->Stopped rebooting->Rebooting migrating->Migrating "
    "volumeMigrating->Migrating volumeRecovering->VolumeRecovering pausing->Pausing paused->Paused "
    f"crashed->Crashed destroying->Destroying {_HOST}",
    "Stopping": "stopped->Stopped running->Running destroying->Destroying unknown->Unknown",
    "Stopped": "starting->Starting stopped->Stopped running->Running paused->Paused destroying->Destroying "
    f"volumeMigrating->VolumeMigrating volumeRecovering->VolumeRecovering {_HOST}",
    "Migrating": "migrated->Running volumeMigrated->Running running->Running paused->Paused stopped->Stopped "
    f"destroying->Destroying {_HOST}",
    "VolumeMigrating": f"volumeMigrated->Stopped stopped->Stopped destroying->Destroying {_HOST}",
    "VolumeRecovering": "starting->VolumeRecovering running->VolumeRecovering volumeRecovering->VolumeRecovering "
    f"volumeRecovered->Running stopping->Stopping stopped->Stopped destroying->Destroying {_HOST}",
    "Rebooting": f"running->Running stopped->Stopped destroying->Destroying {_HOST}",
    "Paused": "resuming->Resuming running->Running volumeMigrated->Running stopping->Stopping stopped->Stopped "
    f"migrating->Migrating destroying->Destroying {_HOST}",
    "Pausing": f"paused->Paused running->Running destroying->Destroying {_HOST}",
    "Resuming": f"running->Running paused->Paused destroying->Destroying {_HOST}",
    "Unknown": "running->Running stopped->Stopped paused->Paused stopping->Stopping migrating->Migrating "
    f"destroying->Destroying {_HOST}",
    "Destroying": "destroyed->Destroyed destroying->Destroying running->Running expunging->Expunging unknown->Unknown",
    "Destroyed": "stopped->Stopped",
    "Crashed": "running->Running stopping->Stopping stopped->Stopped rebooting->Rebooting crashed->Crashed "
    f"destroyed->Destroyed destroying->Destroying {_HOST}",
}
_TEXT["NoState"] = _TEXT["Crashed"]


def _table() -> dict[tuple[VmState, VmEvent], VmState]:
    found = {}
    for state, rows in _TEXT.items():
        for row in rows.split():
            event, _, to = row.partition("->")
            found[VmState(state), VmEvent(event)] = VmState(to)
    return found


TABLE = _table()

# States in which an operation is accepted; one whose state is reached already does nothing. In an intermediate state
# only destroy is accepted, and waits until the job that is at work has ended. A crashed VM is started by a reboot.
ALLOWED: dict[str, frozenset[VmState]] = {
    "start": frozenset({VmState.CREATED, VmState.STOPPED, VmState.RUNNING, VmState.CRASHED}),
    "stop": frozenset(
        {VmState.RUNNING, VmState.STOPPED, VmState.PAUSED, VmState.UNKNOWN, VmState.CRASHED, VmState.NO_STATE}
    ),
    "reboot": frozenset({VmState.RUNNING, VmState.CRASHED, VmState.NO_STATE}),
    "pause": frozenset({VmState.RUNNING}),
    "resume": frozenset({VmState.PAUSED}),
    "destroy": frozenset(state for state, event in TABLE if event is VmEvent.DESTROYING),
    "recover": frozenset({VmState.DESTROYED}),
    "snapshot": frozenset({VmState.RUNNING, VmState.STOPPED, VmState.PAUSED}),
    "delete_snapshot": frozenset({VmState.RUNNING, VmState.STOPPED, VmState.PAUSED}),
    "revert": frozenset({VmState.STOPPED}),
    "reimage": frozenset({VmState.STOPPED}),
    "migrate": frozenset({VmState.RUNNING}),
    "resize": frozenset({VmState.CREATED, VmState.STOPPED}),
    "clone": frozenset({VmState.RUNNING, VmState.STOPPED, VmState.PAUSED}),
    "attach_volume": frozenset({VmState.RUNNING, VmState.STOPPED, VmState.PAUSED}),
    "expunge": frozenset({VmState.DESTROYED}),
}

# What a host may report, and the event that it stands for.
REPORTED: dict[VmState, VmEvent] = {
    VmState.RUNNING: VmEvent.RUNNING,
    VmState.STOPPED: VmEvent.STOPPED,
    VmState.PAUSED: VmEvent.PAUSED,
    VmState.CRASHED: VmEvent.CRASHED,
    VmState.NO_STATE: VmEvent.NO_STATE,
}


def next_state(state: VmState, event: VmEvent) -> VmState:
    """Where the event leads; one without a row is a programming error."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise AssertionError(f"a VM that is {state.value} cannot take the event {event.value}") from None


def path_to(state: VmState, real: VmState) -> tuple[VmEvent, ...]:
    """The events by which a host's report is taken: its own, or by way of NoState or Running where it has no row."""
    event = REPORTED[real]
    if TABLE.get((state, event)) is real:
        return (event,)
    for via in (VmEvent.NO_STATE, VmEvent.RUNNING, VmEvent.STOPPED):
        between = TABLE.get((state, via))
        if between is not None and TABLE.get((between, event)) is real:
            return (via, event)
    return ()
