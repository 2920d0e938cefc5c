"""VM instance: what a user asked for (VM-01). What became of it lies in streams of its own: status and NICs."""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from zcloud.kernel.errors import invalid
from zcloud.kernel.event import Event
from zcloud.kernel.resource import Creation, Resource

BOOT_MODES = ("Legacy", "Uefi")
BOOT_DEVICES = ("HardDisk", "CdRom", "Network")


class DesiredState(enum.Enum):
    """What the user asked for last; nothing that happens by itself changes it."""

    RUNNING = "Running"
    STOPPED = "Stopped"
    PAUSED = "Paused"
    DESTROYED = "Destroyed"


class CreationStrategy(enum.Enum):
    """What a new VM is brought to (VM-02)."""

    INSTANT_START = "InstantStart"
    JUST_CREATE = "JustCreate"
    CREATE_STOPPED = "CreateStopped"
    CREATED_PAUSED = "CreatedPaused"


WANTED = {
    CreationStrategy.INSTANT_START: DesiredState.RUNNING,
    CreationStrategy.JUST_CREATE: DesiredState.STOPPED,
    CreationStrategy.CREATE_STOPPED: DesiredState.STOPPED,
    CreationStrategy.CREATED_PAUSED: DesiredState.PAUSED,
}


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the caller wants the VM; empty: anywhere in its zone."""

    cluster_uuid: str = ""
    host_uuid: str = ""
    primary_storage_uuid: str = ""


class VmInstance(Resource, kind="vm_instance"):
    """memory_size: bytes. The offering is where the numbers came from; they stay when it changes or goes."""

    parents = {  # noqa: RUF012
        "zone": "zone_uuid",
        "host": "host_uuid",
        "l3_network": "vm_nics.l3_network_uuid",
        "ip_range": "vm_nics.ip_range_uuid",
        "instance_offering": "instance_offering_uuid",
    }
    delete_workflow = "delete_resource"
    # What others may see of it, they could put disks and networks to.
    shareable = False

    instance_offering_uuid: str = ""
    image_uuid: str = ""
    root_volume_uuid: str = ""
    # What the first start must keep to; empty: anything will do.
    asked: Asked = Asked()
    cpu_num: int = 0
    memory_size: int = 0
    platform: str = ""
    boot_mode: str = "Legacy"
    # Empty: HardDisk, then CdRom.
    boot_order: tuple[str, ...] = ()
    allocator_strategy: str = ""
    desired_state: DesiredState = DesiredState.RUNNING

    class Created(Creation):
        """A VM was asked for."""

        zone_uuid: str
        instance_offering_uuid: str = ""
        image_uuid: str
        root_volume_uuid: str
        asked: Asked = Asked()
        cpu_num: int
        memory_size: int
        platform: str
        allocator_strategy: str
        desired_state: DesiredState
        boot_mode: str = "Legacy"

    class DesiredStateChanged(Event):
        """A user asked for another state; a stop that was asked for is never turned round by the system."""

        desired_state: DesiredState

    class ImageChanged(Event):
        """Its root volume is made anew from another image, whose devices and firmware it has from now on."""

        image_uuid: str
        platform: str
        boot_mode: str

    class BootModeChanged(Event):
        """From the next start on."""

        boot_mode: str

    class BootOrderChanged(Event):
        """From the next start on."""

        boot_order: tuple[str, ...]

    class Resized(Event):
        """It has so many CPUs and so much memory from its next start on, whatever its offering says."""

        cpu_num: int
        memory_size: int

        def apply(self, aggregate: Any) -> None:
            super().apply(aggregate)
            aggregate.instance_offering_uuid = ""

    class OfferingLost(Event):
        """The offering was deleted; the VM keeps its numbers."""

        def apply(self, aggregate: Any) -> None:
            aggregate.instance_offering_uuid = ""

    def create(
        self,
        *,
        name: str,
        zone_uuid: str,
        image_uuid: str,
        root_volume_uuid: str,
        cpu_num: int,
        memory_size: int,
        platform: str,
        allocator_strategy: str,
        boot_mode: str = "Legacy",
        strategy: CreationStrategy = CreationStrategy.INSTANT_START,
        description: str = "",
        instance_offering_uuid: str = "",
        asked: Asked = Asked(),  # noqa: B008 - frozen
    ) -> None:
        """Plan it; the caller makes its volume, NICs and claims in the same unit."""
        self.trigger(
            self.Created(
                name=name,
                description=description,
                account_uuid=self.account_uuid,
                zone_uuid=zone_uuid,
                instance_offering_uuid=instance_offering_uuid,
                image_uuid=image_uuid,
                root_volume_uuid=root_volume_uuid,
                asked=asked,
                cpu_num=cpu_num,
                memory_size=memory_size,
                platform=platform,
                boot_mode=boot_mode,
                allocator_strategy=allocator_strategy,
                desired_state=WANTED[strategy],
            )
        )

    def desire(self, state: DesiredState) -> None:
        """Remember what the user wants; wanting the same again is no event."""
        if state is not self.desired_state:
            self.trigger(self.DesiredStateChanged(desired_state=state))

    def change_image(self, image_uuid: str, platform: str, boot_mode: str) -> None:
        """The same again is no event."""
        if (image_uuid, platform, boot_mode) != (self.image_uuid, self.platform, self.boot_mode):
            self.trigger(self.ImageChanged(image_uuid=image_uuid, platform=platform, boot_mode=boot_mode))

    def set_boot_mode(self, boot_mode: str) -> None:
        """Legacy or Uefi (VM-07)."""
        if boot_mode not in BOOT_MODES:
            raise invalid("boot_mode", boot_mode, f"must be one of {', '.join(BOOT_MODES)}")
        if boot_mode != self.boot_mode:
            self.trigger(self.BootModeChanged(boot_mode=boot_mode))

    def set_boot_order(self, boot_order: tuple[str, ...]) -> None:
        """Of BOOT_DEVICES, each at most once; none: as it is by default (VM-08)."""
        for number, device in enumerate(boot_order):
            if device not in BOOT_DEVICES:
                raise invalid("boot_order", device, f"must be one of {', '.join(BOOT_DEVICES)}")
            if device in boot_order[:number]:
                raise invalid("boot_order", device, "must be named once")
        if boot_order != self.boot_order:
            self.trigger(self.BootOrderChanged(boot_order=boot_order))

    def resize(self, cpu_num: int, memory_size: int) -> None:
        """The same again is no event."""
        if (cpu_num, memory_size) != (self.cpu_num, self.memory_size):
            self.trigger(self.Resized(cpu_num=cpu_num, memory_size=memory_size))

    def lose_offering(self) -> None:
        """The reference is dropped, the numbers stay."""
        if self.instance_offering_uuid:
            self.trigger(self.OfferingLost())
