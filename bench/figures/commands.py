"""Durable commands a second against a bare echo; after each, a power cut, and everything acknowledged is looked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from bench.echo import Echo, fastest_echo
from bench.figure import Figure, Size, measure, percentile
from bench.load import in_turn
from bench.product import Product, lost, message, product
from zcloud.api.rpcs import rpcs

ROUNDS, SECONDS = 5, 4.0
QUICK_ROUNDS, QUICK_SECONDS = 2, 1.0
ZONES = 1000
TARGETS = {"sqlite": 0.5, "postgresql": 0.4}


@measure
def commands(size: Size) -> Iterator[Figure]:
    """CreateZone and UpdateZone, with session, permission, rules, request id, audit and call log."""
    for store, target in TARGETS.items():
        with product(store) as it:
            yield from _on(it, store, target, size)


def _on(it: Product, store: str, target: float, size: Size) -> Iterator[Figure]:
    request = message("CreateZone", name="bench-0000000", description="x" * 40)
    first = it.admin.call("CreateZone", name="bench-first", description="x" * 40)
    names = (message("CreateZone", name=f"bench-{n:07}", description="x" * 40) for n in itertools.count())
    rounds, seconds = size.of((ROUNDS, SECONDS), (QUICK_ROUNDS, QUICK_SECONDS))
    create = Figure(f"durable_commands_{store}", "commands/s", [], [], target)
    update = Figure(f"durable_updates_{store}", "commands/s", [], [], target)
    acknowledged: list[bytes] = []
    with fastest_echo(request, first.ByteSize()) as echo:
        for n in range(rounds):
            create.limits.append(_echo(it, echo, request, seconds))
            load = it.drive("CreateZone", names, seconds, keep=True, ids=f"create-{n}-")
            create.values.append(load.rate)
            acknowledged += load.answers
        zones = [rpcs()["CreateZone"].response.FromString(a).inventory.uuid for a in acknowledged]  # type: ignore[attr-defined]
        for n in range(rounds):
            update.limits.append(_echo(it, echo, request, seconds))
            edits = in_turn(
                [message("UpdateZone", uuid=u, description=f"y{n}-{i}") for i, u in enumerate(zones[:ZONES])]
            )
            update.values.append(it.drive("UpdateZone", edits, seconds, ids=f"update-{n}-").rate)
        half = it.drive("CreateZone", names, seconds, rate=create.value / 2, keep=True, ids="half-")
        acknowledged += half.answers
        kind = echo.kind
    gone = lost(it, "CreateZone", "QueryZone", acknowledged)
    create.note = update.note = f"limit: echo on grpc ({kind})"
    create.note += f"; {load.costs}; SIGKILL, then {len(acknowledged):,} acknowledged looked for, {gone} lost"
    assert not gone, create.note
    yield create
    yield update
    yield Figure(f"command_p50_at_half_load_{store}", "ms", [percentile(half.seconds, 0.5) * 1000], more=False)
    yield Figure(f"command_p99_at_half_load_{store}", "ms", [percentile(half.seconds, 0.99) * 1000], more=False)


def _echo(it: Product, echo: Echo, request: bytes, seconds: float) -> float:
    return echo.drive(request, seconds, it.admin.token, ids="echo-").rate
