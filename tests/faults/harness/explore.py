"""Faults of a scenario, each with the node killed at every boundary: what comes of it must be what comes of no kill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from tests.faults.harness.boundary import Fault, Outcome, live, stuck
from tests.faults.harness.cloud import Run
from tests.faults.harness.scenarios import Scenario

MOMENTS = ("before", "after")
CANCELS = {"cancel", "abort"}


def faults_of(plain: Outcome) -> Iterator[Fault]:
    """Success, failure of each step in two ways, cancel during and after each step."""
    yield Fault()
    for step in range(plain.steps):
        yield Fault("fail", step)
        yield Fault("half", step)
    for step in range(plain.steps):
        yield Fault("cancel", step)
        yield Fault("abort", step)


# What fails here leaves nothing: the cloud is as it was, but for images that hosts have in their caches by now.
CLEAN = {
    "add_host",
    "add_backup_storage",
    "add_image",
    "attach_l2_network",
    "create_vm_instance",
}
# What fails is tried again by itself when the host connects, which it does after a kill.
AGAIN = {"collect_host_debt", "release_primary_storage"}
# That something was on a storage and went makes the next look for what is left of it, and is no rest itself.
CACHES = {"cache", "cached_images", "image_cache", "shares", "allocated", "dhcp", "held", "reclaimable"}


def without_caches(value: Any) -> Any:
    """A picture without what stays on purpose."""
    if isinstance(value, dict):
        return {k: without_caches(v) for k, v in value.items() if k not in CACHES}
    if isinstance(value, (list, tuple)):
        pairs = [v for v in value if not (isinstance(v, (list, tuple)) and len(v) == 2 and str(v[0]) in CACHES)]
        return sorted((without_caches(v) for v in pairs), key=repr)
    return value


@dataclass
class Found:
    """What was tried, and what was wrong."""

    runs: int = 0
    wrong: list[str] = field(default_factory=list)


def explore(scenario: Scenario, *, every: int = 1, offset: int = 0, stop_at: int = 20) -> Found:
    """every: of the boundaries with faults, one in so many; those of success are all taken."""
    found = Found()
    plain, before = live(scenario), live(replace(scenario, act=nothing))
    outcomes = {fault: plain if fault == Fault() else live(scenario, fault) for fault in faults_of(plain)}
    for fault, outcome in outcomes.items():
        found.runs += 1
        _note(found, scenario, fault, None, outcome, [outcome])
        if scenario.workflow in CLEAN and outcome.state in ("Failed", "Canceled"):
            left, clean = without_caches(outcome.picture), without_caches(before.picture)
            if left != clean:
                found.wrong.append(f"{scenario.name} {fault}: no clean slate: {difference(left, clean)}")
    turn = offset
    for fault, outcome in outcomes.items():
        if fault != Fault() and outcome.commits == plain.commits and outcome.picture == plain.picture:
            continue  # the step sends nothing: it can neither fail nor is there a moment to cancel
        allowed = [o for f, o in outcomes.items() if f == fault or {f.kind, fault.kind} <= CANCELS]
        if fault.kind in CANCELS:
            allowed.append(plain)
            # A node that starts anew aborts what it sends again, of this step or of one that had begun meanwhile: it
            # may come before the agent has begun, and then nothing of that happened.
            allowed += [outcomes[f] for n in (0, 1) if (f := Fault("fail", fault.step + n)) in outcomes]
        if scenario.workflow in AGAIN:
            allowed.append(plain)
        for commit in range(1, outcome.commits + 1):
            for moment in MOMENTS:
                turn += 1
                if every > 1 and fault != Fault() and turn % every:
                    continue
                found.runs += 1
                kill = (commit, moment)
                _note(found, scenario, fault, kill, live(scenario, fault, kill), allowed)
                if len(found.wrong) >= stop_at:
                    return found
    return found


async def nothing(run: Run) -> str:
    """Nobody asks for anything."""
    return ""


def _note(found: Found, scenario: Scenario, fault: Fault, kill: Any, outcome: Outcome, allowed: list[Outcome]) -> None:
    where = f"{scenario.name} {fault.kind or 'success'} {fault.step} kill={kill}"
    wrong = [w for w in outcome.wrong if not (kill and w == "the node was not killed")]
    found.wrong += [f"{where}: {w}" for w in wrong]
    if kill is not None and not stuck(outcome) and all(outcome.picture != o.picture for o in allowed):
        found.wrong.append(f"{where}: {outcome.state}: {difference(outcome.picture, allowed[0].picture)}")


def difference(a: Any, b: Any, path: str = "") -> str:
    """Where two pictures differ first."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in {**a, **b}:
            if a.get(key) != b.get(key):
                return difference(a.get(key), b.get(key), f"{path}.{key}")
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        for n, (x, y) in enumerate(zip(a, b, strict=True)):
            if x != y:
                return difference(x, y, f"{path}[{n}]")
    return f"{path}: {str(a)[:400]} instead of {str(b)[:400]}"
