"""CD drives of a VM, and the ISOs in them: written in the append that puts one in or takes it out (VM-06, VM-31)."""

from __future__ import annotations

from typing import Any

import msgspec

from zcloud.kernel.aggregate import Companion
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.event import Event


class VmCdRom(msgspec.Struct, frozen=True, omit_defaults=True):
    """One drive; without an ISO it is empty."""

    uuid: str
    device_id: int
    iso_uuid: str = ""


class VmCdRoms(Companion, of="vm_instance", role="cd_roms"):
    """In the order of their device ids."""

    cd_roms: tuple[VmCdRom, ...] = ()

    class Added(Event):
        """One more drive, with what is in it."""

        cd_rom: VmCdRom

        def apply(self, aggregate: Any) -> None:
            found = (*aggregate.cd_roms, self.cd_rom)
            aggregate.cd_roms = tuple(sorted(found, key=lambda one: one.device_id))

    class Removed(Event):
        """The drive is gone."""

        cd_rom_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.cd_roms = tuple(one for one in aggregate.cd_roms if one.uuid != self.cd_rom_uuid)

    class Inserted(Event):
        """An ISO lies in the drive."""

        cd_rom_uuid: str
        iso_uuid: str

        def apply(self, aggregate: Any) -> None:
            _fold(aggregate, self.cd_rom_uuid, self.iso_uuid)

    class Ejected(Event):
        """Nothing lies in it any more."""

        cd_rom_uuid: str

        def apply(self, aggregate: Any) -> None:
            _fold(aggregate, self.cd_rom_uuid, "")

    @property
    def iso_uuids(self) -> tuple[str, ...]:
        """All that lie in a drive."""
        return tuple(one.iso_uuid for one in self.cd_roms if one.iso_uuid)

    def holding(self, iso_uuid: str) -> VmCdRom | None:
        """The drive with this ISO."""
        return next((one for one in self.cd_roms if iso_uuid and one.iso_uuid == iso_uuid), None)

    def find(self, uuid: str) -> VmCdRom | None:
        """The drive."""
        return next((one for one in self.cd_roms if one.uuid == uuid), None)

    def free_drive(self, asked: str = "") -> VmCdRom:
        """The first empty drive, or the one that was asked for if it is empty. Raises FAILED_PRECONDITION."""
        for one in self.cd_roms:
            if not one.iso_uuid and asked in ("", one.uuid):
                return one
        if asked:
            why = "holds an ISO already" if self.find(asked) is not None else "is none of the VM's"
            raise precondition(Reason.STILL_IN_USE, f"CD drive {asked} {why}", cd_rom_uuid=asked)
        text = f"the VM has {len(self.cd_roms)} CD drives, and none is empty; detach an ISO, or add a drive"
        raise precondition(Reason.STILL_IN_USE, text, cd_roms=len(self.cd_roms))

    def add(self, uuid: str, most: int, iso_uuid: str = "") -> None:
        """In the lowest place that is free."""
        if len(self.cd_roms) >= most:
            text = f"the VM has {len(self.cd_roms)} CD drives, and vm/maximumCdRomNum allows {most}"
            raise precondition(Reason.NOT_SUPPORTED, text, cd_roms=len(self.cd_roms))
        taken = {one.device_id for one in self.cd_roms}
        device_id = next(number for number in range(most + 1) if number not in taken)
        self.trigger(self.Added(cd_rom=VmCdRom(uuid, device_id, iso_uuid)))

    def remove_drive(self, uuid: str) -> None:
        """An empty one."""
        found = self.find(uuid)
        if found is None:
            raise precondition(Reason.NOT_ATTACHED, f"CD drive {uuid} is none of the VM's", cd_rom_uuid=uuid)
        if found.iso_uuid:
            text = f"CD drive {uuid} holds ISO {found.iso_uuid}; detach it first"
            raise precondition(Reason.STILL_IN_USE, text, iso_uuid=found.iso_uuid)
        self.trigger(self.Removed(cd_rom_uuid=uuid))

    def insert(self, uuid: str, iso_uuid: str) -> None:
        """The caller has found that it is empty."""
        if self.holding(iso_uuid) is not None:
            text = f"ISO {iso_uuid} lies in a CD drive of the VM already"
            raise precondition(Reason.ALREADY_ATTACHED, text, iso_uuid=iso_uuid)
        self.trigger(self.Inserted(cd_rom_uuid=uuid, iso_uuid=iso_uuid))

    def eject(self, iso_uuid: str) -> None:
        """What lies in none needs no event."""
        found = self.holding(iso_uuid)
        if found is not None:
            self.trigger(self.Ejected(cd_rom_uuid=found.uuid))


def _fold(aggregate: Any, uuid: str, iso_uuid: str) -> None:
    aggregate.cd_roms = tuple(
        VmCdRom(one.uuid, one.device_id, iso_uuid) if one.uuid == uuid else one for one in aggregate.cd_roms
    )
