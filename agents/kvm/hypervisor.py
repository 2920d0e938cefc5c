"""The connection to libvirt: kept alive, made again when it breaks, and honest about whether it answers."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import libvirt

from agents.kvm.domain_xml import NAMESPACE
from agents.runtime.task import TaskError
from zcloud.v1.agent_pb2 import HostInventory, ObservedVm

log = logging.getLogger(__name__)
T = TypeVar("T")
Listener = Callable[[HostInventory], None]

# What libvirt calls it, and what the cloud does. A guest that is about to end has not ended.
STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: "NoState",
    libvirt.VIR_DOMAIN_RUNNING: "Running",
    libvirt.VIR_DOMAIN_BLOCKED: "Running",
    libvirt.VIR_DOMAIN_SHUTDOWN: "Running",
    libvirt.VIR_DOMAIN_PAUSED: "Paused",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "Paused",
    libvirt.VIR_DOMAIN_SHUTOFF: "Stopped",
    libvirt.VIR_DOMAIN_CRASHED: "Crashed",
}
KEEPALIVE_SECONDS, KEEPALIVE_COUNT = 2, 3
EVENTS_AGAIN_SECONDS = 1.0
# A call to a guest whose agent hangs holds a thread for up to a minute.
THREADS = 16

_loop_lock = threading.Lock()
_loop: threading.Thread | None = None


def _run_event_loop() -> None:
    """libvirt's own event loop, one per process: without it no keepalive and no event works."""
    global _loop
    with _loop_lock:
        if _loop is not None:
            return
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        libvirt.virEventRegisterDefaultImpl()

        def turn() -> None:
            while True:
                try:
                    libvirt.virEventRunDefaultImpl()
                except Exception:  # without this thread no connection would ever be found dead
                    log.exception("libvirt's event loop goes on in a moment")
                    time.sleep(EVENTS_AGAIN_SECONDS)

        _loop = threading.Thread(target=turn, name="libvirt events", daemon=True)
        _loop.start()


def has_ended(error: libvirt.libvirtError) -> bool:
    """Whether it says that a domain is not there, or has ended since it was looked up and has no configuration."""
    return error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID)


def is_ours(domain: libvirt.virDomain) -> bool:
    """Whether the cloud made this domain; one that ended meanwhile raises: it is nobody's, not a stranger's."""
    try:
        domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
            return False
        raise
    return True


def uuid_of(domain: libvirt.virDomain) -> str:
    """As the cloud writes uuids: 32 digits."""
    return domain.UUIDString().replace("-", "")


def state_of(domain: libvirt.virDomain) -> str:
    """The cloud's word for the domain's state."""
    return STATES.get(domain.state()[0], "NoState")


def find(connection: libvirt.virConnect, uuid: str) -> libvirt.virDomain | None:
    """The domain of a VM; None when it is not there; REFUSED when a stranger has its uuid."""
    try:
        domain = connection.lookupByUUIDString(uuid)
        if domain.isActive() and not is_ours(domain):
            raise TaskError(
                "REFUSED", f"a domain with the uuid {uuid} runs that this cloud did not make; stop it first"
            )
        return domain if domain.isActive() else None
    except libvirt.libvirtError as error:
        if has_ended(error):
            return None
        raise


def read_state(connection: libvirt.virConnect, uuid: str) -> str:
    """Running, Paused, Stopped, Crashed or NoState. Our domains are transient: gone is Stopped."""
    try:
        domain = find(connection, uuid)
        return state_of(domain) if domain is not None else "Stopped"
    except libvirt.libvirtError as error:
        if has_ended(error):
            return "Stopped"
        raise


class Hypervisor:
    """A libvirt connection that outlives libvirtd.

    One thread of its own (the keeper) connects, asks every ping_seconds whether libvirt still answers, and tells
    listeners what changed; calls of tasks run in a pool, since every call to libvirt blocks.
    """

    def __init__(self, uri: str, ping_seconds: float = 2.0) -> None:
        self.uri = uri
        self._ping_seconds = ping_seconds
        self._connection: libvirt.virConnect | None = None
        self._error = f"not yet connected to libvirt at {uri}"
        self._answered = time.monotonic()
        self._wishes: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._listeners: list[Listener] = []
        self._ours: set[str] = set()
        self._closed = threading.Event()
        self._pool = ThreadPoolExecutor(THREADS, "libvirt")
        self._keeper = threading.Thread(target=self._keep, name="libvirt keeper", daemon=True)

    def start(self) -> None:
        """Begin to connect; error() tells when it has come about."""
        _run_event_loop()
        self._keeper.start()

    def close(self) -> None:
        """Let go. Guests run on."""
        self._closed.set()
        self._wishes.put(None)
        if self._keeper.is_alive():
            self._keeper.join(timeout=5)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def subscribe(self, listener: Listener) -> None:
        """Hear of VMs that change, and of all VMs after each reconnect. Called in the keeper's thread."""
        self._listeners.append(listener)

    def error(self) -> str:
        """Empty while libvirt answers; else why it does not."""
        silent = time.monotonic() - self._answered
        if not self._error and silent > 2 * self._ping_seconds + KEEPALIVE_SECONDS:
            return f"libvirt at {self.uri} has not answered for {silent:.0f} s"
        return self._error

    async def call(self, action: Callable[[libvirt.virConnect], T]) -> T:
        """Run a blocking action on the connection; libvirt's errors become TaskErrors."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._guarded, action)

    async def inventory(self) -> HostInventory:
        """All VMs of ours with their states; UNREACHABLE rather than an empty list when libvirt is away."""
        return await self.call(self._list)

    def _guarded(self, action: Callable[[libvirt.virConnect], T]) -> T:
        connection = self._connection
        if connection is None:
            raise TaskError("UNREACHABLE", self._error or f"libvirt at {self.uri} is away")
        try:
            return action(connection)
        except libvirt.libvirtError as error:
            if not _alive(connection):
                raise TaskError("UNREACHABLE", f"libvirt at {self.uri} went away: {error}") from error
            reason = "NOT_FOUND" if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN else "FAILED"
            raise TaskError(reason, f"libvirt: {error}") from error

    def _list(self, connection: libvirt.virConnect) -> HostInventory:
        inventory = HostInventory(complete=True)
        for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
            try:
                if is_ours(domain):
                    self._ours.add(uuid_of(domain))
                    inventory.vms.add(vm_instance_uuid=uuid_of(domain), state=state_of(domain))
            except libvirt.libvirtError as error:
                if not has_ended(error):
                    raise
        return inventory

    def _keep(self) -> None:
        while not self._closed.is_set():
            try:
                self._connect()
                while not self._closed.is_set():
                    self._serve(self._connection)
            except libvirt.libvirtError as error:
                self._error = f"libvirt at {self.uri} does not answer: {error}"
            except Exception as error:
                # The keeper must not die: the host would look well for ever.
                log.exception("the connection to libvirt at %s is made again", self.uri)
                self._error = f"libvirt at {self.uri}: {error}"
            try:
                self._disconnect()
            except Exception:
                log.exception("the connection to libvirt at %s is dropped as it is", self.uri)
            self._closed.wait(min(0.5, self._ping_seconds))

    def _connect(self) -> None:
        connection = libvirt.open(self.uri)
        try:
            connection.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT)
            connection.registerCloseCallback(self._on_close, None)
            connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle, None)
            before = set(self._ours)
            inventory = self._list(connection)
        except libvirt.libvirtError:
            connection.close()
            raise
        self._connection = connection
        self._answered, self._error = time.monotonic(), ""
        # What ended while nobody listened has to be said as well.
        self._ours = {vm.vm_instance_uuid for vm in inventory.vms}
        inventory.vms.extend(ObservedVm(vm_instance_uuid=uuid, state="Stopped") for uuid in sorted(before - self._ours))
        self._publish(inventory)

    def _serve(self, connection: libvirt.virConnect | None) -> None:
        try:
            uuid = self._wishes.get(timeout=self._ping_seconds)
        except queue.Empty:
            uuid = None
        if connection is None or self._closed.is_set():
            return
        if uuid is None:
            connection.getLibVersion()
        else:
            self._tell(connection, uuid)
        # Cleared here too: the callback of an earlier connection may come late.
        self._answered, self._error = time.monotonic(), ""

    def _tell(self, connection: libvirt.virConnect, uuid: str) -> None:
        """Publish what a VM's state is now; what the event said may be old already."""
        try:
            state = read_state(connection, uuid)
        except TaskError:
            return
        if state != "Stopped":
            self._ours.add(uuid)
        elif uuid not in self._ours:
            return
        else:
            self._ours.discard(uuid)
        self._publish(HostInventory(vms=[ObservedVm(vm_instance_uuid=uuid, state=state)]))

    def _publish(self, inventory: HostInventory) -> None:
        for listener in self._listeners:
            try:
                listener(inventory)
            except Exception:
                log.exception("a listener failed on an inventory")

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.unregisterCloseCallback()
                connection.close()
            except libvirt.libvirtError as error:
                log.debug("closing the connection to %s: %s", self.uri, error)

    # In the event loop's thread, where a call to libvirt would wait for itself.

    def _on_close(self, _connection: Any, _reason: int, _opaque: Any) -> None:
        if not self._error:
            self._error = f"libvirt at {self.uri} closed the connection"
        self._wishes.put(None)

    def _on_lifecycle(
        self, _connection: Any, domain: libvirt.virDomain, _event: int, _detail: int, _opaque: Any
    ) -> None:
        self._wishes.put(uuid_of(domain))


def _alive(connection: libvirt.virConnect) -> bool:
    try:
        return bool(connection.isAlive())
    except libvirt.libvirtError:
        return False
