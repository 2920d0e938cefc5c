"""Who on a storage's network is told whom to ask (PS-05)."""

from __future__ import annotations

import pytest

from zcloud.domain.storage.storage_network_hosts import PEERS, PrimaryStorageNetwork, StorageNetworkHost


def books(addresses: str) -> PrimaryStorageNetwork:
    """A host for each letter; those in capitals have no address there."""
    made = PrimaryStorageNetwork.blank("s" * 32)
    for letter in addresses:
        made.seen(StorageNetworkHost(letter.lower(), "" if letter.isupper() else f"10.0.0.{ord(letter)}"))
    return made


@pytest.mark.parametrize("addresses", ["", "a", "A", "ab", "aB", "Ab", "AB", "cab", "abcdefghij", "aBcdEfghiJklmN"])
def test_who_was_told_all_that_it_is_to_ask_is_not_told_again(addresses: str) -> None:
    """Whoever is told, is told by peers_of; after it there is nobody to tell, until one comes or goes."""
    made = books(addresses)
    for host in made.uninformed():
        assert made.of_host(host).peers != made.peers_of(host)  # type: ignore[union-attr]
    for one in made.storage_network_hosts:
        told = made.peers_of(one.host_uuid)
        assert len(told) <= PEERS
        assert one.address not in told
        made.seen(StorageNetworkHost(one.host_uuid, one.address, peers=told))
    assert made.uninformed() == ()
    made.seen(StorageNetworkHost("zz", "10.0.0.200"))
    asking = [one.host_uuid for one in made.storage_network_hosts if "10.0.0.200" in made.peers_of(one.host_uuid)]
    changed = {u for u in "abcdefghijklmn" if (h := made.of_host(u)) and h.peers != made.peers_of(u)}
    assert set(asking) <= changed
    assert set(made.uninformed()) - {"zz"} == changed
    made.forget(["zz"])
    assert made.uninformed() == ()
