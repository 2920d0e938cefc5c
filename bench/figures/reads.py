"""Reads of one resource by its uuid a second, against a bare echo."""

from __future__ import annotations

from collections.abc import Iterator

from bench.echo import fastest_echo
from bench.figure import Figure, Size, measure
from bench.load import in_turn
from bench.product import STORES, message, product

ZONES = 200


@measure
def reads(size: Size) -> Iterator[Figure]:
    """GetZone with a session."""
    rounds, seconds = size.of((5, 4.0), (2, 1.0))
    for store in STORES:
        name = "reads_by_uuid" if store == "sqlite" else f"reads_by_uuid_{store}"
        figure = Figure(name, "reads/s", [], [], 0.6)
        with product(store) as it:
            made = [it.admin.call("CreateZone", name=f"z{n}", description="x" * 40).inventory for n in range(ZONES)]
            asked = in_turn([message("GetZone", uuid=zone.uuid) for zone in made])
            request = message("GetZone", uuid=made[0].uuid)
            answer = it.admin.call("GetZone", uuid=made[0].uuid).ByteSize()
            with fastest_echo(request, answer) as echo:
                for _ in range(rounds):
                    figure.limits.append(echo.drive(request, seconds, it.admin.token).rate)
                    load = it.drive("GetZone", asked, seconds)
                    figure.values.append(load.rate)
                figure.note = f"limit: echo on grpc ({echo.kind}); {load.costs}"
        yield figure
