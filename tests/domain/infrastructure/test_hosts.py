"""Hosts: the pinned key of a server that is moved, and what over-provisioning makes of a host (HST-01, HST-04)."""

from __future__ import annotations

import pytest

from tests.domain.storage.ground import GIB, Ground, events, run
from zcloud.domain.infrastructure import host_size
from zcloud.domain.infrastructure.host import HostCapacity
from zcloud.domain.infrastructure.kvm_host import KvmHost
from zcloud.domain.operations.global_config import GlobalConfig, change, make_known
from zcloud.domain.operations.settings import known
from zcloud.kernel.errors import Refused


def kvm_host() -> KvmHost:
    host = KvmHost.blank("1" * 32)
    host.create(name="h", cluster_uuid="c", zone_uuid="z", management_ip="10.0.0.1", username="root", password="p")
    host.pin("ssh-ed25519 AAAA")
    return host


@pytest.mark.parametrize("moved", [{"management_ip": "10.0.0.2"}, {"ssh_port": 2222}])
def test_another_address_is_another_servers(moved: dict[str, object]) -> None:
    host = kvm_host()
    host.update(**moved)  # type: ignore[arg-type]
    assert host.host_key == ""


def test_other_credentials_are_for_the_same_server() -> None:
    host = kvm_host()
    host.update(username="admin", password="q", management_ip="10.0.0.1", ssh_port=22, name="other")
    assert (host.username, host.name, host.host_key) == ("admin", "other", "ssh-ed25519 AAAA")


def test_a_ratio_that_is_lowered_takes_nothing_away() -> None:
    capacity = HostCapacity.blank("1" * 32)
    capacity.overprovisioned(2)
    assert not capacity.pending  # nothing was measured yet, and nothing is known
    capacity.measured(4, 8 * GIB, 3)
    capacity.claim("a" * 32, 10, GIB)
    assert (capacity.total_cpu_capacity, capacity.available_cpu_capacity) == (12, 2)
    capacity.overprovisioned(2)
    assert (capacity.total_cpu_capacity, capacity.available_cpu_capacity) == (8, 0)
    assert capacity.claims == {"a" * 32: (10, GIB)}
    with pytest.raises(Refused, match="0 vCPUs left of 8, 1 wanted"):
        capacity.claim("b" * 32, 1, GIB)


def test_the_setting_is_what_hosts_are_measured_by(monkeypatch: pytest.MonkeyPatch) -> None:
    ground = Ground()
    run(make_known(ground.unit, "owner"))
    host = ground.host()
    capacity = run(ground.unit.companion(HostCapacity, host))
    run(host_size.measured(ground.unit, host, 4, 8 * GIB))
    assert capacity.total_cpu_capacity == 40

    class Hosts:
        async def where(self, kind: str) -> list[str]:
            return [host.uuid]

    monkeypatch.setattr(ground.unit, "port", {"views": Hosts()}.__getitem__)
    config = run(ground.unit.get(GlobalConfig, *known(*host_size.RATIO).uuids))
    run(change(ground.unit, config, "3"))
    assert capacity.total_cpu_capacity == 12
    before = len(events(capacity))
    run(change(ground.unit, config, "3"))
    run(host_size.measured(ground.unit, host, 4, 8 * GIB))
    assert len(events(capacity)) == before
    run(change(ground.unit, config, None))
    assert capacity.total_cpu_capacity == 40
