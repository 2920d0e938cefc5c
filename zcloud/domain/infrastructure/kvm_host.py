"""KVM host: a Linux server with libvirt and QEMU, reached by SSH to install its agent (HST-01, HST-16)."""

from __future__ import annotations

from typing import Any

from zcloud.domain.infrastructure.host import Host, must_be_address
from zcloud.kernel.errors import invalid
from zcloud.kernel.event import Event
from zcloud.kernel.resource import UNSET, Creation, Unset

DEFAULT_URI = "qemu:///system"


class KvmHost(Host, kind="kvm_host"):
    """password and private_key are sealed; host_key is pinned at the first connection."""

    ssh_port: int = 22
    username: str = ""
    password: str = ""
    private_key: str = ""
    libvirt_uri: str = DEFAULT_URI
    host_key: str = ""

    class Created(Creation):
        """A host was added; it is kept when its first connect succeeds."""

        zone_uuid: str
        cluster_uuid: str
        hypervisor_type: str = "KVM"
        management_ip: str
        ssh_port: int
        username: str
        password: str = ""
        private_key: str = ""
        libvirt_uri: str = DEFAULT_URI

    class AccessChanged(Event):
        """How to reach it by SSH."""

        management_ip: str | Unset = UNSET
        ssh_port: int | Unset = UNSET
        username: str | Unset = UNSET
        password: str | Unset = UNSET
        private_key: str | Unset = UNSET

        def apply(self, aggregate: Any) -> None:
            super().apply(aggregate)
            # Another server has another key; only a new one at the address of the old is an imposter's.
            if self.management_ip is not UNSET or self.ssh_port is not UNSET:
                aggregate.host_key = ""

    class HostKeyPinned(Event):
        """The key that the server showed; another one is refused from now on."""

        host_key: str

    def create(
        self,
        *,
        name: str,
        cluster_uuid: str,
        zone_uuid: str,
        management_ip: str,
        username: str,
        description: str = "",
        ssh_port: int = 22,
        password: str = "",
        private_key: str = "",
        libvirt_uri: str = DEFAULT_URI,
    ) -> None:
        """password and private_key: sealed, at least one of them."""
        must_be_address("management_ip", management_ip)
        if not password and not private_key:
            raise invalid("password", "", "must be given, or private_key in its place")
        self.trigger(
            self.Created(
                name=name,
                description=description,
                account_uuid=self.account_uuid,
                zone_uuid=zone_uuid,
                cluster_uuid=cluster_uuid,
                management_ip=management_ip,
                ssh_port=ssh_port,
                username=username,
                password=password,
                private_key=private_key,
                libvirt_uri=libvirt_uri,
            )
        )

    def update(self, *, name: str | None = None, description: str | None = None, **access: Any) -> None:
        """access: management_ip, ssh_port, username, password, private_key (the last two sealed)."""
        super().update(name=name, description=description)
        changed = {key: value for key, value in access.items() if value is not None and value != getattr(self, key)}
        if changed:
            self.trigger(self.AccessChanged(**changed))

    def pin(self, host_key: str) -> None:
        """Remember the server's key."""
        if host_key and host_key != self.host_key:
            self.trigger(self.HostKeyPinned(host_key=host_key))
