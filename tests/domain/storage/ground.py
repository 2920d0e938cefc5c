"""A unit without a log, and the resources that tests of storages begin with."""

from __future__ import annotations

from typing import Any

from tests.domain.network.ground import ZONE, EmptyCloud, events, run
from zcloud.domain.infrastructure.cluster import Cluster
from zcloud.domain.infrastructure.simulator_host import SimulatorHost
from zcloud.domain.storage import allocation
from zcloud.domain.storage.backup_storage import BackupStorageCapacity, BackupStorageStatus
from zcloud.domain.storage.host_storage import HostStorage
from zcloud.domain.storage.image import Image, ImageFacts
from zcloud.domain.storage.local_primary_storage import LocalPrimaryStorage
from zcloud.domain.storage.primary_storage import PrimaryStorageCapacity
from zcloud.domain.storage.sftp_backup_storage import SftpBackupStorage
from zcloud.kernel.context import Context
from zcloud.kernel.unit import Unit

GIB = 1 << 30

__all__ = ["GIB", "ZONE", "Ground", "events", "run"]


class Ground:
    """One unit; what is made stays in it."""

    def __init__(self) -> None:
        cloud: Any = EmptyCloud()
        self.unit = Unit(cloud, Context(), 1)
        self.cluster = run(self.unit.new(Cluster))
        self.cluster.create(name="rack", zone_uuid=ZONE)

    def host(self, name: str = "host") -> SimulatorHost:
        made = run(self.unit.new(SimulatorHost))
        made.create(name=name, cluster_uuid=self.cluster.uuid, zone_uuid=ZONE, management_ip=f"{name}.invalid")
        return made

    def primary(self, *hosts: SimulatorHost, total: int = 100 * GIB, available: int = 0) -> LocalPrimaryStorage:
        """Attached to the cluster and measured on the hosts."""
        made = run(self.unit.new(LocalPrimaryStorage))
        made.create(name="local", zone_uuid=ZONE, url="/storage")
        made.attach(self.cluster.uuid, ZONE)
        for host in hosts:
            run(allocation.measured(self.unit, made, host, total, available or total))
        return made

    def backup(self, name: str = "sftp", total: int = 100 * GIB, zone_uuid: str = ZONE) -> SftpBackupStorage:
        """Enabled, Connected, attached to the zone."""
        made = run(self.unit.new(SftpBackupStorage))
        made.create(name=name, url="/images", hostname="backup.invalid", username="root", password="sealed:x")
        made.attach(zone_uuid)
        run(self.unit.companion(BackupStorageStatus, made)).connected()
        run(self.unit.companion(BackupStorageCapacity, made)).measured(total, total)
        return made

    def image(self, *storages: SftpBackupStorage, size: int = 10 * GIB, actual: int = GIB, uuid: str = "") -> Image:
        """Ready, with a copy on the last of the storages."""
        made = run(self.unit.new(Image, uuid))
        made.create(name="image", url="http://example.org/image", format="Qcow2")
        facts = self.facts(made)
        for storage in storages:
            run(self.unit.companion(BackupStorageCapacity, storage)).store(made.uuid, actual)
            facts.ready(storage.uuid, install_path="/images/i", size=size, actual_size=actual, sha256="0" * 64)
        return made

    def facts(self, image: Image) -> ImageFacts:
        return run(self.unit.companion(ImageFacts, image))

    def books(self, host: SimulatorHost) -> HostStorage:
        return run(self.unit.companion(HostStorage, host))

    def capacity(self, storage: LocalPrimaryStorage) -> PrimaryStorageCapacity:
        return run(self.unit.companion(PrimaryStorageCapacity, storage))
