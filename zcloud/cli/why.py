"""`zcloud why RESOURCE [FIELD]`: why a resource is as it is, back to a person, a schedule or a host's report."""

from __future__ import annotations

from typing import Any

from zcloud.cli import catalog, output, references, server
from zcloud.cli.causes import Link, Story, earlier_decisions, facts, first_cause
from zcloud.cli.client import Client
from zcloud.cli.errors import OK, CliError
from zcloud.cli.failures import CallError, printable
from zcloud.cli.past import first_event, history, parser, plain_value, value, when, words

# What people ask for when they name no field, the first that ever changed.
USUAL = ("state", "status")
LONGEST_CHAIN = 16
# States that only say that nobody knows: what came after them has a cause before them.
UNKNOWN = "Unknown"


def main(argv: list[str]) -> int:
    """Print the chain of causes."""
    made = parser("why", "Why a resource is as it is: the chain of causes of the newest change.")
    made.add_argument("field", nargs="?", help="of the inventory; the state when absent")
    options = made.parse_args(argv)
    with Client(server.chosen(options)) as client:
        uuid = references.uuid_of(client, "resource", references.ANY, options.resource)
        story = Story(client, list(history(client, uuid)))
        event, field = _newest(story.events, options.field)
        chain = [_what(story.events, event, field), *_causes(story, event), *_before(story, event, field)]
        # Who asked for it has said why; of what the system did, people's decisions may say more.
        chain += earlier_decisions(story, event) if chain[-1].facts.keys() & {"node", "scheduler_uuid"} else []
    if options.output == "table":
        print("\n".join(("  " if n else "") + link.text for n, link in enumerate(chain)))
    else:
        output.print_data([link.facts for link in chain], options.output)
    return OK


def _newest(events: list[Any], wanted: str | None) -> tuple[Any, str]:
    ever = {change.field for event in events for change in event.changes}
    if wanted is not None and wanted not in ever:
        raise CliError(f"{wanted} never changed; what did: {', '.join(sorted(ever)) or 'nothing'}.")
    field = wanted or next((name for name in USUAL if name in ever), "")
    for event in reversed(events):
        for change in event.changes:
            if not field or change.field == field:
                return event, change.field
    raise CliError("nothing is known of it that could have a cause.")


def _what(events: list[Any], event: Any, field: str) -> Link:
    change = next(c for c in event.changes if c.field == field)
    before, after = plain_value(change.before), plain_value(change.after)
    named = [plain_value(c.after) for e in events for c in e.changes if c.field == "name" and plain_value(c.after)]
    name = f'"{printable(str(named[-1]))}"' if named else event.resource_uuid
    gone = event.type.endswith(".Removed")
    now = "it is gone" if gone else f"{words(field)} is {value(after)}"
    was = "" if before is None else f" (before: {value(before)})"
    return Link(
        f"{words(event.resource_kind)} {name}: {now} since {when(event.time)}{'' if gone else was}",
        {"uuid": event.resource_uuid, "field": field, "before": before, "after": after, **facts(event)},
    )


def _causes(story: Story, event: Any) -> list[Link]:
    chain: list[Link] = []
    at = event
    while at.job_uuid and len(chain) < LONGEST_CHAIN:
        step = _step(story.events, at) if at is event else ""
        chain.append(_job(story.client, at.job_uuid, step))
        try:
            began = first_event(story.client, at.job_uuid)
        except CallError:  # the job is another account's
            break
        if began.job_uuid == at.job_uuid:
            at = began
            break
        at = began
    return [*chain, *first_cause(story, event, at)]


def _before(story: Story, event: Any, field: str) -> list[Link]:
    """Stopped, but before that nobody knew: why nobody did."""
    change = next(c for c in event.changes if c.field == field)
    if plain_value(change.before) != UNKNOWN:
        return []
    for earlier in reversed(story.before(event)):
        if any(c.field == field and plain_value(c.after) == UNKNOWN for c in earlier.changes):
            since = Link(f"before that {words(field)} was {UNKNOWN} since {when(earlier.time)}", facts(earlier))
            return [since, *_causes(story, earlier)]
    return []


def _step(events: list[Any], event: Any) -> str:
    """The step whose report was written together with the change."""
    same = [e.step for e in events if e.step and e.job_uuid == event.job_uuid and e.time == event.time]
    return same[0] if same else ""


def _job(client: Client, uuid: str, step: str) -> Link:
    rpc = catalog.find("GetJob")
    request: Any = rpc.new_request()
    request.uuid = uuid
    by = f"by step {step} of job" if step else "by job"
    try:
        job = client.call(rpc, request).inventory  # type: ignore[attr-defined]
    except CallError as error:
        if error.code.name != "NOT_FOUND":
            raise
        return Link(f"{by} {uuid}", {"job_uuid": uuid, "step": step})
    first = job.first_error or job.error
    error_text = f", which failed: {printable(first)}" if first else ""
    if job.error != first:
        error_text += f"; then undoing it failed: {printable(job.error)}"
    told = {"job_uuid": uuid, "job": job.name, "workflow": job.workflow, "step": step, "error": job.error}
    told["first_error"] = job.first_error
    return Link(f'{by} "{printable(job.name or job.workflow)}" ({uuid}){error_text}', told)
