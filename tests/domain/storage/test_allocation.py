"""Room on primary storages: two books that agree whatever happens, refusals that say what is missing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.domain.storage.ground import GIB, Ground, events, run
from zcloud.domain.operations.resource_config import ResourceConfig
from zcloud.domain.operations.settings import known, percent_of
from zcloud.domain.storage import allocation, over_provisioning
from zcloud.domain.storage.host_image_cache import HostImageCache
from zcloud.domain.storage.primary_storage import PrimaryStorageStatus
from zcloud.domain.storage.status import Status
from zcloud.kernel.errors import Code, Reason, Refused

VOLUMES = [f"{n:032x}" for n in range(5)]


def agree(ground: Ground, storage: object, *hosts: object) -> None:
    """The sums that are shown are those of the hosts' claims."""
    capacity = ground.capacity(storage)  # type: ignore[arg-type]
    shares = [s for h in hosts if (s := ground.books(h).shares.get(storage.uuid)) is not None]  # type: ignore
    assert capacity.allocated == sum(share.claimed for share in shares)
    for percent in (100, 1_000_000_000):  # with the latter what volumes claim is next to nothing
        assert abs(capacity.used(percent) - sum(share.used(percent) for share in shares)) <= len(shares)
    assert capacity.total_capacity == sum(share.total for share in shares)
    assert 0 <= capacity.available_capacity <= capacity.total_capacity


def test_claims_count_once_and_come_back() -> None:
    ground = Ground()
    host = ground.host()
    storage = ground.primary(host)
    run(allocation.claim(ground.unit, storage, host, VOLUMES[0], 40 * GIB))
    before = len(ground.books(host).pending)
    run(allocation.claim(ground.unit, storage, host, VOLUMES[0], 40 * GIB))
    assert len(ground.books(host).pending) == before
    assert ground.capacity(storage).available_capacity == 60 * GIB
    agree(ground, storage, host)
    for _ in range(2):
        run(allocation.release(ground.unit, storage, host, VOLUMES[0]))
    assert ground.capacity(storage).available_capacity == 100 * GIB
    assert events(ground.capacity(storage))[-2:] == ["Allocated", "Freed"]
    agree(ground, storage, host)


@pytest.mark.parametrize(
    ("total", "available", "size", "fits"),
    [
        (100 * GIB, 100 * GIB, 99 * GIB, True),
        (100 * GIB, 100 * GIB, 99 * GIB + 1, False),  # the reserve of 1G stays
        (100 * GIB, 20 * GIB, 19 * GIB, True),
        (100 * GIB, 20 * GIB, 19 * GIB + 1, False),  # what others wrote there is not ours to give
    ],
)
def test_the_reserve_and_what_is_physically_free(total: int, available: int, size: int, fits: bool) -> None:
    ground = Ground()
    host = ground.host()
    storage = ground.primary(host, total=total, available=available)
    lack = run(allocation.lacks(ground.unit, storage, host, size))
    assert (lack == "") is fits
    if not fits:
        assert str(size) in lack
        with pytest.raises(Refused) as refused:
            run(allocation.claim(ground.unit, storage, host, VOLUMES[0], size))
        assert (refused.value.code, refused.value.reason) == (Code.RESOURCE_EXHAUSTED, Reason.NO_STORAGE_AVAILABLE)
        assert ground.books(host).shares[storage.uuid].claims == {}


def test_why_a_storage_cannot_be_used() -> None:
    ground = Ground()
    host, other = ground.host("one"), ground.host("two")
    storage = ground.primary(host)

    def lack(of: object = host) -> str:
        return run(allocation.lacks(ground.unit, storage, of, GIB))  # type: ignore[arg-type]

    assert lack() == ""
    assert "not prepared" in lack(other)
    storage.change_state("disable")
    assert "Disabled" in lack()
    storage.change_state("enable")
    run(allocation.lost(ground.unit, host))
    assert "Disconnected" in lack()
    run(allocation.measured(ground.unit, storage, host, 100 * GIB, 100 * GIB))
    assert lack() == ""
    storage.detach(ground.cluster.uuid)
    assert "not attached" in lack()


def test_an_image_needs_room_until_it_is_cached() -> None:
    ground = Ground()
    host = ground.host()
    storage = ground.primary(host, total=10 * GIB)
    image = ground.image(ground.backup(), actual=2 * GIB)
    assert run(allocation.lacks(ground.unit, storage, host, 7 * GIB, image)) == ""
    assert run(allocation.lacks(ground.unit, storage, host, 7 * GIB + 1, image)) != ""
    run(allocation.claim_cache(ground.unit, storage, host, image))
    run(allocation.claim_cache(ground.unit, storage, host, image))
    assert ground.capacity(storage).allocated == 2 * GIB
    assert run(allocation.lacks(ground.unit, storage, host, 7 * GIB, image)) == ""
    # it did not come
    run(allocation.release_cache(ground.unit, storage, host, image))
    assert ground.capacity(storage).allocated == 0
    # it came
    run(allocation.claim_cache(ground.unit, storage, host, image))
    run(allocation.keep_cached(ground.unit, storage, host, image, "/path", 2 * GIB))
    run(allocation.release_cache(ground.unit, storage, host, image))
    assert ground.capacity(storage).allocated == 2 * GIB
    agree(ground, storage, host)
    cache = run(ground.unit.companion(HostImageCache, host))
    assert [c.path for c in cache.cached_images] == ["/path"]
    # cached images do not hold a storage back, volumes do
    assert run(allocation.volumes_on(ground.unit, storage, [host])) == []
    run(allocation.claim(ground.unit, storage, host, VOLUMES[0], GIB))
    assert run(allocation.volumes_on(ground.unit, storage, [host])) == [VOLUMES[0]]
    run(allocation.forget(ground.unit, storage, host))
    assert cache.cached_images == ()
    agree(ground, storage, host)


def test_an_image_with_the_uuid_of_one_that_is_gone_is_another() -> None:
    ground = Ground()
    first = ground.image(ground.backup(), uuid="a" * 32)
    name = first.cache_name
    first.remove()
    ground.unit.now = 2
    second = ground.image(ground.backup("other"), uuid="a" * 32)
    assert second.cache_name != name


def test_a_storage_is_lost_with_the_last_host_that_has_it() -> None:
    ground = Ground()
    one, two = ground.host("one"), ground.host("two")
    storage = ground.primary(one, two)
    status = run(ground.unit.companion(PrimaryStorageStatus, storage))
    run(allocation.lost(ground.unit, one))
    assert status.status is Status.CONNECTED
    run(allocation.lost(ground.unit, two))
    assert status.status is Status.DISCONNECTED
    assert ground.capacity(storage).total_capacity == 200 * GIB
    run(allocation.forget(ground.unit, storage, one))
    run(allocation.measured(ground.unit, storage, two, 100 * GIB, 100 * GIB))
    assert (status.status, ground.capacity(storage).total_capacity) == (Status.CONNECTED, 100 * GIB)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("claim"), st.sampled_from([0, 1]), st.sampled_from(VOLUMES), st.integers(1, 60 * GIB)),
        st.tuples(st.just("release"), st.sampled_from([0, 1]), st.sampled_from(VOLUMES), st.just(0)),
        st.tuples(st.just("measure"), st.sampled_from([0, 1]), st.just(""), st.integers(50 * GIB, 120 * GIB)),
        st.tuples(st.just("lose"), st.sampled_from([0, 1]), st.just(""), st.just(0)),
        st.tuples(st.just("forget"), st.sampled_from([0, 1]), st.just(""), st.just(0)),
        st.tuples(st.just("cache"), st.sampled_from([0, 1]), st.just(""), st.integers(1, 3 * GIB)),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_the_books_agree_whatever_happens(steps: list[tuple[str, int, str, int]]) -> None:
    ground = Ground()
    hosts = [ground.host("one"), ground.host("two")]
    storage = ground.primary(*hosts)
    image = ground.image(ground.backup())
    for what, which, key, size in steps:
        host = hosts[which]
        try:
            if what == "claim":
                run(allocation.claim(ground.unit, storage, host, key, size))
            elif what == "release":
                run(allocation.release(ground.unit, storage, host, key))
            elif what == "measure":
                run(allocation.measured(ground.unit, storage, host, size, size))
            elif what == "lose":
                run(allocation.lost(ground.unit, host))
            elif what == "forget":
                run(allocation.forget(ground.unit, storage, host))
            else:
                run(allocation.keep_cached(ground.unit, storage, host, image, "/path", size))
        except Refused:
            assert what == "claim"
        agree(ground, storage, *hosts)


def test_what_is_over_provisioned_and_what_is_not() -> None:
    """Volumes count by their share, in sums and in what is physically free; what is written as it is, in full."""
    ground = Ground()
    host = ground.host()
    storage = ground.primary(host, total=101 * GIB)
    run(allocation.claim(ground.unit, storage, host, VOLUMES[0], 60 * GIB))
    run(allocation.claim(ground.unit, storage, host, "export/x", 10 * GIB))
    assert run(allocation.lacks(ground.unit, storage, host, 30 * GIB)) == ""
    assert run(allocation.lacks(ground.unit, storage, host, 30 * GIB + 1)) != ""

    key = known(*over_provisioning.RATIO)
    own = run(ground.unit.new(ResourceConfig, ResourceConfig.uuids_of(key.category, key.name, storage.uuid).uuid))
    own.create(key, "1.5", "primary_storage", storage.uuid)
    run(allocation.measured(ground.unit, storage, host, 101 * GIB, 101 * GIB - GIB))
    run(allocation.measured(ground.unit, storage, host, 101 * GIB, 101 * GIB))
    capacity = ground.capacity(storage)
    assert events(capacity).count("Overprovisioned") == 1
    assert (capacity.total_capacity, capacity.available_capacity) == (101 * GIB, 51 * GIB)
    assert run(allocation.lacks(ground.unit, storage, host, 75 * GIB)) == ""
    assert run(allocation.lacks(ground.unit, storage, host, 75 * GIB + 1)) != ""
    assert run(allocation.lacks(ground.unit, storage, host, 30 * GIB, real=30 * GIB)) == ""
    assert run(allocation.lacks(ground.unit, storage, host, 30 * GIB, real=30 * GIB + 1)) != ""
    run(allocation.claim(ground.unit, storage, host, "export/y", 20 * GIB))
    run(allocation.claim(ground.unit, storage, host, VOLUMES[1], 45 * GIB))
    assert capacity.available_capacity == GIB
    # since it was measured as much was claimed as is physically free
    run(allocation.release(ground.unit, storage, host, VOLUMES[0]))
    run(allocation.release(ground.unit, storage, host, "export/x"))
    run(allocation.measured(ground.unit, storage, host, 101 * GIB, 21 * GIB))
    run(allocation.claim(ground.unit, storage, host, VOLUMES[2], 15 * GIB))
    assert run(allocation.lacks(ground.unit, storage, host, 15 * GIB)) == ""
    assert "physically free" in run(allocation.lacks(ground.unit, storage, host, 15 * GIB + 1))
    agree(ground, storage, host)
    run(allocation.forget(ground.unit, storage, host))
    assert (capacity.used(100), capacity.used(150)) == (0, 0)


@pytest.mark.parametrize(
    ("text", "percent"),
    [("1", 100), ("1.5", 150), ("2.25", 225), ("1000", 100_000), ("0.99", 0), ("1000.01", 0), ("1.555", 0), ("x", 0)],
)
def test_ratios(text: str, percent: int) -> None:
    key = known(*over_provisioning.RATIO)
    if percent:
        key.must_take(text)
        assert percent_of(text) == percent
    else:
        with pytest.raises(Refused) as refused:
            key.must_take(text)
        assert refused.value.code is Code.INVALID_ARGUMENT
