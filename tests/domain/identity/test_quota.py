"""Quotas: what a VM, a volume and an image count in each of their states (ACC-06, ACC-07)."""

from __future__ import annotations

import pytest

from tests.domain.storage.ground import GIB, Ground, run
from zcloud.domain.compute.vm_instance import VmInstance
from zcloud.domain.compute.vm_quota import vm_uses
from zcloud.domain.compute.vm_state import VmState
from zcloud.domain.compute.vm_status import VmInstanceStatus
from zcloud.domain.identity.account import Account
from zcloud.domain.identity.quota import AccountUsage, Quota
from zcloud.domain.identity.quotas import known
from zcloud.domain.storage.storage_quota import image_uses, volume_uses
from zcloud.domain.storage.volume import Volume, VolumeState, VolumeStatus, VolumeType
from zcloud.kernel.errors import Refused

# behaviours 18: running is every state except these; total is all but Destroyed.
AT_REST = {"Created", "Stopped", "Destroying", "Destroyed", "Expunging"}
GONE = {"Destroyed", "Expunging"}


@pytest.mark.parametrize("state", VmState, ids=lambda state: state.value)
def test_what_a_vm_counts_in_each_state(state: VmState) -> None:
    vm = VmInstance.blank("1" * 32)
    vm.cpu_num, vm.memory_size = 3, 2 * GIB
    status = VmInstanceStatus.blank("1" * 32)
    status.state, status.host_uuid = state, "2" * 32
    expected = {} if state.value in GONE else {"vm.totalNum": 1}
    if state.value not in AT_REST:
        expected |= {"vm.num": 1, "vm.cpuNum": 3, "vm.memorySize": 2 * GIB}
    assert vm_uses(vm, status) == expected
    status.host_uuid = ""
    if state is VmState.STARTING:
        assert vm_uses(vm, status) == {"vm.totalNum": 1}


@pytest.mark.parametrize("kind", VolumeType)
@pytest.mark.parametrize("state", VolumeState, ids=lambda state: state.value)
def test_a_deleted_volume_takes_room_and_is_not_counted(kind: VolumeType, state: VolumeState) -> None:
    volume = Volume.blank("1" * 32)
    volume.type, volume.size = kind, 5 * GIB
    status = VolumeStatus.blank("1" * 32)
    status.status = state
    found = volume_uses(volume, status)
    assert found.pop("volume.capacity") == 5 * GIB
    assert found == ({"volume.data.num": 1} if kind is VolumeType.DATA and state is not VolumeState.DELETED else {})


def test_an_image_counts_until_it_is_expunged() -> None:
    ground = Ground()
    image = ground.image(ground.backup(), actual=GIB)
    facts = ground.facts(image)
    assert image_uses(image, facts) == {"image.num": 1, "image.size": GIB}
    image.delete(facts)
    assert image_uses(image, facts) == {"image.num": 1, "image.size": GIB}


def test_usage_is_what_its_events_say() -> None:
    ground = Ground()
    account = run(ground.unit.new(Account))
    account.create(name="alice", password_hash="-")
    usage = run(ground.unit.companion(AccountUsage, account))
    usage.open({"vm.num": 2})
    usage.open({"vm.num": 7})
    usage.change({"vm.num": -1, "image.num": 3})
    assert (usage.used, len(usage.pending)) == ({"vm.num": 1, "image.num": 3}, 2)


def test_a_limit_that_is_the_same_is_no_event() -> None:
    ground = Ground()
    made = run(ground.unit.new(Quota, account_uuid="a" * 32))
    made.create(name="vm.num", description="VMs that run.", value=20)
    made.limit(20)
    made.limit(0)
    assert (made.value, made.identity_uuid, len(made.pending)) == (0, "a" * 32, 2)
    with pytest.raises(Refused, match=r'the nearest is "vm\.num"'):
        known("vm.nums")
