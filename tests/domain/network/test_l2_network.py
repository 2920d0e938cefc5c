"""L2 networks and clusters: what may be attached where (CLU-05, CLU-14, L2-01)."""

from __future__ import annotations

import re

import pytest

from tests.domain.network.ground import OTHER_ZONE, Ground, run
from zcloud.domain.infrastructure.cluster import ClusterAttachments
from zcloud.domain.network import attachment
from zcloud.domain.network.cluster_bridges import ClusterBridges
from zcloud.domain.network.host_networks import HostNetworks
from zcloud.domain.network.l2_network import L2Attachments, bridge_of
from zcloud.kernel.errors import Reason, Refused


def test_bridges_have_names_that_fit_and_differ() -> None:
    names = {bridge_of("a" * 31 + digit) for digit in "0123456789abcdef"}
    assert len(names) == 16
    assert all(re.fullmatch(r"zb[0-9a-f]{10}", name) for name in names)


def test_attach_and_detach_as_both_sides_see_it() -> None:
    ground = Ground()
    unit, l2, cluster = ground.unit, ground.l2(), ground.cluster()
    attachments = run(unit.companion(L2Attachments, l2))
    shown = run(unit.companion(ClusterAttachments, cluster))
    bridges = run(unit.companion(ClusterBridges, cluster))

    run(attachment.begin_attach(unit, l2, cluster))
    assert (attachments.attached_cluster_uuids, shown.l2_network_uuids) == ((), ())
    assert bridges.wanted == {l2.uuid: "eth1"}
    run(attachment.attached(unit, l2, cluster))
    assert (attachments.attached_cluster_uuids, shown.l2_network_uuids) == ((cluster.uuid,), (l2.uuid,))

    run(attachment.begin_detach(unit, l2, cluster))
    assert (attachments.attached_cluster_uuids, shown.l2_network_uuids, bridges.wanted) == ((), (), {})
    assert bridges.interfaces == {l2.uuid: "eth1"}
    run(attachment.abort_detach(unit, l2, cluster))
    assert (attachments.attached_cluster_uuids, bridges.wanted) == ((cluster.uuid,), {l2.uuid: "eth1"})
    run(attachment.begin_detach(unit, l2, cluster))
    run(attachment.detached(unit, l2, cluster))
    assert (bridges.interfaces, bridges.leaving) == ({}, ())


def test_what_is_refused() -> None:
    ground = Ground()
    unit, l2, cluster = ground.unit, ground.l2(), ground.cluster()

    def reason(of: object) -> Reason:
        with pytest.raises(Refused) as refused:
            run(of)  # type: ignore[arg-type]
        return refused.value.reason

    other_zone = ground.cluster(zone_uuid=OTHER_ZONE)
    assert reason(attachment.begin_attach(unit, l2, other_zone)) is Reason.NOT_SAME_ZONE
    assert reason(attachment.begin_detach(unit, l2, cluster)) is Reason.NOT_ATTACHED
    run(attachment.begin_attach(unit, l2, cluster))
    # Also while hosts are still getting it.
    assert reason(attachment.begin_attach(unit, l2, cluster)) is Reason.ALREADY_ATTACHED
    assert reason(attachment.begin_attach(unit, ground.l2("eth1"), cluster)) is Reason.OVERLAP
    run(attachment.begin_attach(unit, ground.l2("eth2"), cluster))
    run(attachment.begin_attach(unit, ground.l2("eth1"), ground.cluster("other rack")))


def test_a_device_is_free_after_an_attach_that_failed() -> None:
    ground = Ground()
    unit, l2, cluster = ground.unit, ground.l2(), ground.cluster()
    run(attachment.begin_attach(unit, l2, cluster))
    run(attachment.detached(unit, l2, cluster, "a host said no"))
    run(attachment.begin_attach(unit, ground.l2("eth1"), cluster))
    run(attachment.begin_attach(unit, ground.l2("eth3"), cluster))


def test_what_a_host_has_and_owes() -> None:
    networks = HostNetworks.blank("e" * 32)
    l2, l3 = "a" * 32, "b" * 32
    networks.applied(l2, "eth1", "job-1")
    networks.applied(l2, "eth1", "job-1")
    assert len(networks.pending) == 1
    networks.applied(l2, "eth1", "job-2")
    networks.left_behind(l3)
    networks.left_behind(l3)
    assert (list(networks.bridges), networks.stale_dhcp, len(networks.pending)) == ([l2], (l3,), 3)
    networks.cleared(l3, "job-3")
    networks.cleared(l2, "job-3")
    assert (networks.bridges, networks.stale_dhcp) == ({}, ())
    assert networks.cleared_by == {l2: "job-3", l3: "job-3"}
    networks.applied(l2, "eth1", "job-4")
    assert networks.cleared_by == {l3: "job-3"}
    networks.close()
    assert networks.bridges == {}
