"""First causes in plain words: a person, a scheduler on behalf of one, a host that was lost or said something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zcloud.cli.client import Client
from zcloud.cli.errors import CliError
from zcloud.cli.failures import CallError, printable
from zcloud.cli.past import first_event, getter, plain_value, value, when, words

SCHEDULER, NODE = "scheduler:", "node:"
# Parts of the system that decide by themselves, as people know them; others by their names.
SYSTEM = {
    "vm_sync": "a report of its host",
    "host_watch": "the watch over the hosts",
    "storage_mounts": "a report of a host that has it mounted",
    "storage_network": "a report of a host on its network",
    "first_start": "the first start of this cloud",
    "vm_expunge": "the sweep of the recycle bin for machines",
    "volume_expunge": "the sweep of the recycle bin for volumes",
    "image_expunge": "the sweep of the recycle bin for images",
    "image_uploads": "the sweep over uploads that were left",
    "request_expunge": "the sweep over requests that are remembered",
    "scheduler": "the watch over the schedulers",
}
# Its decisions about what is on a host say that the host was lost.
LOST = "host_watch"
# Runs that somebody asked for, besides the schedule.
ASKED = ("RunSchedulerNow", "BackfillScheduler")
# Earlier decisions that are told, and the fields of each.
DECISIONS, FIELDS = 3, 4


@dataclass(frozen=True)
class Link:
    """One cause, in plain words and for programs."""

    text: str
    facts: dict[str, Any]


@dataclass(frozen=True)
class Story:
    """events: all of one resource, oldest first."""

    client: Client
    events: list[Any]

    def before(self, event: Any) -> list[Any]:
        """What had happened until then."""
        return self.events[: self.events.index(event)]

    def known(self, field: str, event: Any) -> Any:
        """What the inventory said in a field just before."""
        said = [plain_value(c.before) for c in event.changes if c.field == field]
        said += [plain_value(c.after) for e in reversed(self.before(event)) for c in e.changes if c.field == field]
        return said[0] if said else None

    def name(self, kind: str, uuid: str) -> str:
        """As people know it, also of one that is gone; its uuid when the caller may not see it."""
        try:
            rpc = getter(kind)
            request: Any = rpc.new_request()
            request.uuid = uuid
            found: Any = self.client.call(rpc, request)
            return f'"{printable(found.inventory.name)}"'
        except (CallError, CliError):
            pass
        try:
            named = dict(first_event(self.client, uuid).data).get("name")
        except (CallError, IndexError):
            named = None
        return f'"{printable(str(named))}"' if named else uuid


def first_cause(story: Story, event: Any, cause: Any) -> list[Link]:
    """event: the change; cause: itself, or how the first of the jobs that led to it began."""
    if cause.actor.source.startswith(SCHEDULER):
        return _scheduler(story, cause)
    if cause.actor.account_uuid:
        return [_person(cause)]
    return [_system(story, event, cause)]


def _said(event: Any) -> str:
    return f': "{printable(event.reason)}"' if event.reason else ""


def _person(event: Any) -> Link:
    where = f" from {printable(event.actor.source)}" if event.actor.source else ""
    text = f"asked for by {_who(event)}{where} with {event.origin} at {when(event.time)}{_said(event)}"
    return Link(text, facts(event))


def _who(event: Any) -> str:
    return str(printable(event.actor.account_name or event.actor.account_uuid))


def _scheduler(story: Story, event: Any) -> list[Link]:
    """What a scheduler did, and who had it run when that was not its time."""
    uuid = event.actor.source.removeprefix(SCHEDULER)
    owner = _who(event)
    if owner == "scheduler":
        owner = story.name("account", event.actor.account_uuid).strip('"')
    call = "" if event.origin == "scheduler" else f" with {event.origin}"
    who = f"{story.name('scheduler', uuid)} on behalf of {owner}"
    text = f"by scheduler {who}{call} at {when(event.time)}{_said(event)}"
    chain = [Link(text, {**facts(event), "scheduler_uuid": uuid, "occurrence_uuid": event.correlation_id})]
    try:
        began = first_event(story.client, event.correlation_id)
    except (CallError, IndexError):  # no longer kept, or there was none
        return chain
    if began.origin in ASKED:
        chain.append(_person(began))
    return chain


def _system(story: Story, event: Any, cause: Any) -> Link:
    origin = SYSTEM.get(cause.origin, f"the {words(cause.origin)}" if cause.origin else "the system")
    node = cause.actor.source.removeprefix(NODE) if cause.actor.source.startswith(NODE) else ""
    seen = f", seen by node {printable(node)}" if node else ""
    host_itself = event.resource_kind.endswith("host")
    host = "" if host_itself else story.known("host_uuid", event) or ""
    told = {**facts(cause), "node": node, "host_uuid": host}
    if cause is event and cause.origin == LOST and not host_itself:
        lost = f"host {story.name('host', host)}" if host else "its host"
        return Link(f"because {lost} was lost at {when(cause.time)} ({printable(cause.reason)}){seen}", told)
    of = f" {story.name('host', host)}" if host and cause.origin == "vm_sync" else ""
    found = "" if cause.reason else plain_value(event.data).get("state_reason", "")
    said = f': "{printable(str(found))}"' if found else _said(cause)
    return Link(f"because of {origin}{of} at {when(cause.time)}{seen}{said}", told)


def earlier_decisions(story: Story, event: Any) -> list[Link]:
    """What people had decided about it for a reason, and what still held when this came."""
    holds: dict[str, Any] = {}
    for earlier in story.before(event):
        for change in earlier.changes:
            holds[change.field] = earlier
    told: dict[str, tuple[Any, list[str]]] = {}
    for field, earlier in holds.items():
        person = earlier.actor.account_uuid and not earlier.actor.source.startswith(SCHEDULER)
        if person and earlier.reason and earlier.correlation_id != event.correlation_id and field not in DATES:
            told.setdefault(earlier.correlation_id or earlier.position, (earlier, []))[1].append(_set(earlier, field))
    newest = sorted(told.values(), key=lambda one: one[0].time.ToNanoseconds(), reverse=True)
    return [_decision(earlier, sets) for earlier, sets in newest[:DECISIONS]]


# What changes with every change says nothing.
DATES = ("last_op_date", "version", "create_date")


def _set(event: Any, field: str) -> str:
    change = next(c for c in event.changes if c.field == field)
    return f"{words(field)} is {value(plain_value(change.after))}"


def _decision(event: Any, sets: list[str]) -> Link:
    shown = ", ".join(sets[:FIELDS]) + (f" and {len(sets) - FIELDS} more" if len(sets) > FIELDS else "")
    by = f"set by {_who(event)} with {words(event.origin)}{_said(event)}"
    return Link(f"decided before: {shown} since {when(event.time)}, {by}", facts(event))


def facts(event: Any) -> dict[str, Any]:
    """Of an event, for programs."""
    return {
        "type": event.type,
        "time": event.time.ToJsonString(),
        "account_name": event.actor.account_name,
        "source": event.actor.source,
        "origin": event.origin,
        "reason": event.reason,
        "position": event.position,
    }
