"""A random cloud as plain messages, with their owners, to be stored in read models and looked at by hand."""

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from projections.schema.registry import ReadModels
from zcloud.v1 import (
    account_pb2,
    backup_storage_pb2,
    cluster_pb2,
    host_pb2,
    image_pb2,
    ip_range_pb2,
    job_pb2,
    l3_network_pb2,
    primary_storage_pb2,
    sftp_backup_storage_pb2,
    user_tag_pb2,
    vm_instance_pb2,
    volume_pb2,
    zone_pb2,
)

ALICE, BOB, ADMIN = "a" * 32, "b" * 32, "f" * 32

TEXTS = [
    "", "", "web", "Web", "web-1", "web-10", "web_1", "50%", "*star*", "[x]", "a?c", 'quo"te', "it's", "back\\slash",
    "ünï", "😀", "null", "true", "7", "two words", "AND", "%", "~", "line\nbreak",
]  # fmt: skip
IPS = ["10.0.0.1", "10.0.0.2", "10.0.10.1", "192.168.1.1", ""]


@dataclass(frozen=True)
class Ownership:
    """Who may see a resource."""

    owner: str
    public: bool
    shared: tuple[str, ...]


@dataclass
class World:
    """All resources by kind, and who may see them."""

    resources: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    ownership: dict[str, Ownership] = field(default_factory=dict)

    def store(self, connection: Connection, models: ReadModels) -> None:
        """Writes everything to the read models' tables."""
        for model in models:
            model.create(connection)
        for kind, messages in self.resources.items():
            model = models[kind]
            rows = []
            for message in messages:
                who = self.ownership[message.uuid]
                rows.append(model.rows(message, who.owner, who.public, who.shared, position=1))
            model.write(connection, rows)


def memory() -> Connection:
    """A connection to an empty database in memory."""
    return create_engine("sqlite://", poolclass=StaticPool, query_cache_size=5000).connect()


def fresh_models() -> ReadModels:
    """Models of the whole API."""
    return ReadModels.of_api()


class Maker:
    """Makes random resources that refer to each other, with gaps, dangling references and absent values."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = World()

    def uuid(self) -> str:
        return f"{self.random.getrandbits(128):032x}"

    def reference(self, kind: str) -> str:
        known = [message.uuid for message in self.world.resources.get(kind, [])]
        return self.random.choice([*known, *known, *known, "", self.uuid()])

    def references(self, kind: str) -> list[str]:
        return [uuid for uuid in {self.reference(kind) for _ in range(self.random.randrange(3))} if uuid]

    def text(self) -> str:
        return self.random.choice(TEXTS)

    def enum(self, message_type: Any, name: str) -> int:
        return self.random.choice(message_type.DESCRIPTOR.fields_by_name[name].enum_type.values).number

    def number(self) -> int:
        return self.random.choice([0, 1, 2, 3, 4, 8, 2**40, 2**63 - 1])

    def time(self, target: Any) -> None:
        if self.random.random() < 0.7:
            target.seconds = 1_700_000_000 + self.random.randrange(5)
            target.nanos = self.random.choice([0, 500_000_000, 123_456_000])

    def fill(self, kind: str, message: Any, uuid: str = "") -> Any:
        message.uuid = uuid or self.uuid()
        message.name, message.description = self.text(), self.text()
        message.version = self.number()
        self.time(message.create_date)
        self.world.resources.setdefault(kind, []).append(message)
        if not uuid:
            shared = tuple(a for a in (ALICE, BOB) if self.random.random() < 0.15)
            owner = self.random.choice([ALICE, BOB, ADMIN])
            self.world.ownership[message.uuid] = Ownership(owner, self.random.random() < 0.15, shared)
        return message

    def backup_storage(self) -> None:
        storage = self.fill(
            "backup_storage",
            backup_storage_pb2.BackupStorage(
                state=self.enum(backup_storage_pb2.BackupStorage, "state"),
                total_capacity=self.number(),
                attached_zone_uuids=self.references("zone"),
            ),
        )
        if self.random.random() < 0.6:
            child = sftp_backup_storage_pb2.SftpBackupStorage(username=self.text(), ssh_port=self.number() % 65536)
            self.fill("sftp_backup_storage", child, storage.uuid)

    def l3_network(self) -> None:
        network = l3_network_pb2.L3Network(
            system=self.random.random() < 0.5,
            dns_domain=self.text(),
            dns=[self.random.choice(IPS[:-1]) for _ in range(self.random.randrange(3))],
            zone_uuid=self.reference("zone"),
        )
        self.fill("l3_network", network)
        for _ in range(self.random.randrange(2)):
            self.fill("ip_range", ip_range_pb2.IpRange(l3_network_uuid=network.uuid, available_ips=self.number()))

    def image(self) -> None:
        copies = [
            image_pb2.ImageCopy(
                backup_storage_uuid=self.reference("backup_storage"),
                status=self.enum(image_pb2.ImageCopy, "status"),
                install_path=self.text(),
            )
            for _ in range(self.random.randrange(3))
        ]
        image = image_pb2.Image(platform=self.enum(image_pb2.Image, "platform"), copies=copies, size=self.number())
        self.fill("image", image)

    def vm_instance(self) -> None:
        nics = [
            vm_instance_pb2.VmNic(
                ip=self.random.choice(IPS), l3_network_uuid=self.reference("l3_network"), device_id=place
            )
            for place in range(self.random.randrange(3))
        ]
        vm = vm_instance_pb2.VmInstance(
            state=self.enum(vm_instance_pb2.VmInstance, "state"),
            cpu_num=self.random.randrange(5),
            memory_size=self.number(),
            image_uuid=self.reference("image"),
            host_uuid=self.reference("host"),
            last_host_uuid=self.reference("host"),
            vm_nics=nics,
        )
        self.fill("vm_instance", vm)
        for _ in range(self.random.randrange(2)):
            self.fill("volume", volume_pb2.Volume(vm_instance_uuid=vm.uuid, size=self.number()))

    def job(self) -> None:
        job = job_pb2.Job(
            state=self.enum(job_pb2.Job, "state"),
            cancel_requested=self.random.random() < 0.5,
            percent=self.random.randrange(3),
        )
        for _ in range(self.random.randrange(3)):
            step = job.steps.add(
                name=self.text(), state=self.enum(job_pb2.JobStep, "state"), percent=self.random.randrange(3)
            )
            self.time(step.finish_date)
        self.fill("job", job)

    def user_tag(self) -> None:
        """On anything, or on what is gone."""
        kind = self.random.choice(["vm_instance", "vm_instance", "image", "host", "backup_storage", "l3_network"])
        tag = user_tag_pb2.UserTag(
            tag=self.text() or "retired",
            resource_uuid=self.reference(kind),
            type=self.enum(user_tag_pb2.UserTag, "type"),
        )
        self.fill("user_tag", tag)


def make_world(seed: int, larger: int = 1) -> World:
    """Some dozens of resources of the kinds that refer to each other most, or so many times more."""
    make = Maker(seed)

    def some(least: int) -> Iterable[int]:
        return range(least * larger + make.random.randrange(3))

    for _ in some(2):
        make.fill("zone", zone_pb2.Zone(state=make.enum(zone_pb2.Zone, "state")))
    for _ in some(1):
        make.fill("primary_storage", primary_storage_pb2.PrimaryStorage(total_capacity=make.number()))
        make.fill("account", account_pb2.Account(type=make.enum(account_pb2.Account, "type")))
    for _ in some(2):
        stores = make.references("primary_storage")
        make.fill("cluster", cluster_pb2.Cluster(zone_uuid=make.reference("zone"), primary_storage_uuids=stores))
    for _ in some(3):
        status = make.enum(host_pb2.Host, "status")
        make.fill("host", host_pb2.Host(cluster_uuid=make.reference("cluster"), status=status))
    for _ in some(4):
        make.backup_storage()
        make.l3_network()
        make.image()
    for _ in some(12):
        make.vm_instance()
        make.job()
    for _ in some(20):
        make.user_tag()
    return make.world
