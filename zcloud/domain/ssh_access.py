"""How a server is reached by SSH: shared by all kinds that are (HST-16, BS-15)."""

from __future__ import annotations

import base64
import itertools
from typing import Any, ClassVar

from zcloud.kernel.errors import invalid
from zcloud.kernel.event import Event
from zcloud.kernel.resource import UNSET, Resource, Unset

_HOST_KEY_KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")


def must_have_secret(password: str, private_key: str) -> None:
    """Either is enough; both are sealed."""
    if not password and not private_key:
        raise invalid("password", "", "must be given, or private_key in its place")


def host_key_of(text: str) -> str:
    """A public key as /etc/ssh/ssh_host_*_key.pub and ssh-keyscan show it, without comment; empty stays empty."""
    parts = text.split()
    if not parts:
        return ""
    for kind, blob in itertools.pairwise(parts):
        if kind in _HOST_KEY_KINDS and _is_key(kind, blob):
            return f"{kind} {blob}"
    raise invalid("host_key", text, 'must be a public key such as "ssh-ed25519 AAAA…", or empty')


def _is_key(kind: str, blob: str) -> bool:
    try:
        data = base64.b64decode(blob, validate=True)
    except ValueError:
        return False
    name = kind.encode()
    return len(data) > 32 and data[: 4 + len(name)] == len(name).to_bytes(4) + name


class AccessChange(Event):
    """Base of a kind's AccessChanged, which adds its own field for the address."""

    # Names of the fields that lead to another server when they change.
    place: ClassVar[tuple[str, ...]] = ("ssh_port",)

    ssh_port: int | Unset = UNSET
    username: str | Unset = UNSET
    password: str | Unset = UNSET
    private_key: str | Unset = UNSET
    # What an operator says the server's key is; empty for the one that it shows at the next connect.
    host_key: str | Unset = UNSET

    def apply(self, aggregate: Any) -> None:
        super().apply(aggregate)
        # Another server has another key; only a new one at the address of the old is an imposter's.
        if self.host_key is UNSET and any(getattr(self, name) is not UNSET for name in self.place):
            aggregate.host_key = ""


class SshAccess(Resource):
    """password and private_key are sealed; host_key is pinned at the first connection."""

    AccessChanged: ClassVar[type[Event]]

    ssh_port: int = 22
    username: str = ""
    password: str = ""
    private_key: str = ""
    host_key: str = ""

    class HostKeyPinned(Event):
        """The key that the server showed; another one is refused from now on."""

        host_key: str

    def change_access(self, access: dict[str, Any]) -> bool:
        """The address, ssh_port, username, password, private_key, host_key. Whether anything changed.

        password and private_key are sealed. An empty host_key accepts whatever key the server shows next: for one
        that was set up anew.
        """
        if access.get("host_key") is not None:
            access = {**access, "host_key": host_key_of(access["host_key"])}
        changed = {key: value for key, value in access.items() if value is not None and value != getattr(self, key)}
        if changed:
            self.trigger(self.AccessChanged(**changed))
        return bool(changed)

    def pin(self, host_key: str) -> None:
        """Remember the server's key."""
        if host_key and host_key != self.host_key:
            self.trigger(self.HostKeyPinned(host_key=host_key))
