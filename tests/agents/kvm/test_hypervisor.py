"""The threads that keep the connection to libvirt: neither ends by an error."""

from __future__ import annotations

import threading
from typing import Any

import libvirt
import pytest

from agents.kvm import hypervisor
from agents.kvm.hypervisor import Hypervisor

SECONDS = 60.0


def test_the_event_loop_goes_on_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it no connection would ever be found dead, and no guest that ended be told of."""
    turns: list[BaseException] = [libvirt.libvirtError("a turn failed"), ZeroDivisionError()]
    gone_on = threading.Event()

    def turn() -> int:
        if turns:
            raise turns.pop()
        gone_on.set()
        threading.Event().wait()  # for ever, as it does where nothing happens; the thread is a daemon
        return 0

    for name in ("registerErrorHandler", "virEventRegisterDefaultImpl"):
        monkeypatch.setattr(libvirt, name, lambda *_: None)
    monkeypatch.setattr(libvirt, "virEventRunDefaultImpl", turn)
    monkeypatch.setattr(hypervisor, "_loop", None)
    monkeypatch.setattr(hypervisor, "EVENTS_AGAIN_SECONDS", 0.0)
    hypervisor._run_event_loop()
    assert gone_on.wait(SECONDS)


def test_the_keeper_connects_again_after_whatever_error(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[Exception] = [libvirt.libvirtError("away"), ZeroDivisionError()]
    connected = threading.Event()
    made = Hypervisor("test:///default", ping_seconds=0.01)

    def connect() -> None:
        if errors:
            raise errors.pop()
        connected.set()

    def disconnect() -> None:
        raise ZeroDivisionError

    def serve(_: Any) -> None:
        made._closed.wait(SECONDS)

    for name, instead in (("_connect", connect), ("_disconnect", disconnect), ("_serve", serve)):
        monkeypatch.setattr(made, name, instead)
    made._keeper.start()
    try:
        assert connected.wait(SECONDS)
    finally:
        made.close()
    assert not made._keeper.is_alive()


class Ending:
    """A domain that ends between the look at whether it runs and the next one."""

    def __init__(self, code: int) -> None:
        self._error = libvirt.libvirtError("transient domains do not have any persistent config")
        self._error.err = (code,)

    def isActive(self) -> bool:
        return True

    def metadata(self, *_: Any) -> str:
        raise self._error


@pytest.mark.parametrize("code", [libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID])
def test_a_guest_that_ends_while_it_is_looked_at_is_not_there(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """And the connection is as good as before: an error there would say that the host's libvirt does not answer."""
    made = Hypervisor("test:///default", ping_seconds=0.01)
    connection = libvirt.open("test:///default")
    monkeypatch.setattr(connection, "lookupByUUIDString", lambda _: Ending(code))
    monkeypatch.setattr(connection, "listAllDomains", lambda _: [Ending(code)])
    assert hypervisor.read_state(connection, "a" * 32) == "Stopped"
    made._tell(connection, "a" * 32)
    assert list(made._list(connection).vms) == []
