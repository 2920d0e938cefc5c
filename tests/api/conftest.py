"""A server that all generated tests share, with one of each kind that a call alone can make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.api.requests import good_message
from tests.support.cloud import ApiError, Client, ServerProcess, running_server
from zcloud.api.node import load_everything
from zcloud.api.rpcs import rpcs
from zcloud.kernel.aggregate import by_kind

load_everything()

CLUSTERS = {"hypervisor_type": "Simulator"}


@dataclass
class Furnished:
    """A server. known: the uuid of a resource of each kind, as far as one could be made."""

    server: ServerProcess
    admin: Client
    known: dict[str, str] = field(default_factory=dict)

    def furnish(self) -> None:
        """Create one of each kind, whatever comes first, until nothing more can be made."""
        makers = [r for n, r in sorted(rpcs().items()) if r.kind and n.startswith(("Create", "Add")) and not r.reads]
        progress = True
        while progress:
            progress = False
            for rpc in makers:
                if rpc.kind in self.known:
                    continue
                request = good_message(rpc.request, self.known, salt=rpc.kind.replace("_", "-"))
                for name, value in CLUSTERS.items():
                    if name in request.DESCRIPTOR.fields_by_name:
                        setattr(request, name, value)
                try:
                    answer = self.admin.send(rpc.name, request)
                except ApiError:
                    continue
                if getattr(answer, "job_uuid", ""):
                    job = self.admin.wait(answer.job_uuid)
                    if job.state != job.STATE_SUCCEEDED:
                        continue
                for kind in by_kind(rpc.kind).kinds:
                    self.known.setdefault(kind, answer.inventory.uuid)
                progress = True


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Furnished]:
    """One of each kind in a cloud of its own."""
    with running_server(tmp_path_factory.mktemp("furnished") / "data") as server:
        made = Furnished(server, server.admin)
        made.furnish()
        yield made
