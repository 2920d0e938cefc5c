"""By which of its addresses a backup storage is reached: for hosts and for other stores may have networks (BS-28)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from zcloud.domain.storage.backup_storage import BackupStorage, BackupStorageStatus
from zcloud.domain.storage.image_store_backup_storage import ImageStoreBackupStorage
from zcloud.domain.storage.sftp_backup_storage import SftpBackupStorage
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.unit import Unit


def address_in(cidr: str, addresses: Iterable[str]) -> str:
    """The first that lies in the network; empty when none does."""
    network = ip_network(cidr)
    for text in addresses:
        address = ip_address(text)
        # That of the machine itself leads from others to themselves.
        if address in network and address.is_loopback <= network.is_loopback:
            return text
    return ""


async def data_address(unit: Unit, storage: BackupStorage) -> str:
    """Where hosts reach it."""
    return await _address(unit, storage, storage.data_network_cidr, "data network")


async def sync_address(unit: Unit, source: ImageStoreBackupStorage, target: BackupStorage) -> str:
    """Where the target reaches a store that it fetches from; its own setting goes before the other's (BS-24)."""
    own = target.sync_network_cidr if isinstance(target, ImageStoreBackupStorage) else ""
    return await _address(unit, source, own or source.sync_network_cidr, "sync network")


async def _address(unit: Unit, storage: BackupStorage, cidr: str, what: str) -> str:
    """Raises FAILED_PRECONDITION where its server has no address in the network."""
    assert isinstance(storage, SftpBackupStorage | ImageStoreBackupStorage)
    if not cidr:
        return storage.hostname
    found = (await unit.companion(BackupStorageStatus, storage)).addresses
    address = address_in(cidr, found)
    if address:
        return address
    text = (
        f'backup storage "{storage.name}" has no address in the {what} {cidr}; '
        f"it has {', '.join(found) or 'told none'}; reconnect it when that has changed"
    )
    raise precondition(Reason.STORAGE_UNREACHABLE, text, backup_storage_uuid=storage.uuid)
