"""The KVM agent's program: knows every task of a host, and says what is wrong with its configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.kvm.hypervisor import Hypervisor
from agents.kvm.main import kvm_handlers, main
from zcloud.v1 import host_task_pb2, network_task_pb2, vm_instance_task_pb2


def test_every_task_of_a_host_has_one_handler(tmp_path: Path) -> None:
    made = kvm_handlers(Hypervisor("qemu:///system"), "a" * 32, tmp_path)
    names = [handler.task.DESCRIPTOR.full_name for handler in made]
    assert len(names) == len(set(names))
    wanted = {host_task_pb2.ConnectHostTask.DESCRIPTOR.full_name}
    for module in (network_task_pb2, vm_instance_task_pb2):
        messages = module.DESCRIPTOR.message_types_by_name.values()
        wanted |= {message.full_name for message in messages if message.name.endswith("Task")}
    assert wanted <= set(names)
    for handler in made:
        assert handler.result.DESCRIPTOR.full_name == handler.task.DESCRIPTOR.full_name.removesuffix("Task") + "Result"


@pytest.mark.parametrize("content", [None, "{", '{"host_uuid": 7}'])
def test_a_configuration_that_cannot_be_used_is_named(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "agent.json"
    if content is not None:
        path.write_text(content)
    assert main(["--config", str(path)]) == 1
    assert str(path) in capsys.readouterr().err
