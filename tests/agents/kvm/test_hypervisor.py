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
