"""KVM host: a Linux server with libvirt and QEMU, reached by SSH to install its agent (HST-01, HST-16)."""

from __future__ import annotations

from typing import Any, ClassVar

from zcloud.domain.infrastructure.host import Host, must_be_address
from zcloud.domain.ssh_access import AccessChange, SshAccess, must_have_secret
from zcloud.kernel.resource import UNSET, Creation, Unset

DEFAULT_URI = "qemu:///system"


class KvmHost(SshAccess, Host, kind="kvm_host"):
    """Its agent dials in; SSH is for installing that."""

    libvirt_uri: str = DEFAULT_URI

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

    class AccessChanged(AccessChange):
        """How to reach it by SSH."""

        place: ClassVar[tuple[str, ...]] = ("management_ip", "ssh_port")

        management_ip: str | Unset = UNSET

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
        must_have_secret(password, private_key)
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
        self.change_access(access)
