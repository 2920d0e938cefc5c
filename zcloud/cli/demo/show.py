"""What the demonstration shows: each step as it happens, the audit trail, and how to go on by oneself."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from zcloud.cli.demo.cloud import Api

T = TypeVar("T")


class Teller:
    """Says what is being done, and how long it took."""

    def __init__(self) -> None:
        self._number = 0

    def __call__(self, title: str, work: Callable[[], T]) -> T:
        self._number += 1
        print(f"[{self._number:2}] {title} ...", flush=True)
        begun = time.monotonic()
        result = work()
        detail = result if isinstance(result, str) else getattr(result, "uuid", "")
        print(f"     {title}: done in {time.monotonic() - begun:.1f} s {detail}".rstrip(), flush=True)
        return result


def audit_trail(api: Api, vm_uuid: str) -> None:
    """Who did what to the VM, why, when, and how long it took."""
    events: list[Any] = []
    token = ""
    while True:
        page = api.call("GetHistory", resource_uuid=vm_uuid, page_token=token)
        events.extend(page.events)
        token = page.next_page_token
        if not token:
            break
    jobs = {j.uuid: j for j in api.call("QueryJob", filter=f'resource_uuid = "{vm_uuid}"').inventories}
    print(f"\nAudit trail of VM {vm_uuid}:")
    print(f"  {'when':23}  {'who':8}  {'what':32}  {'by':22}  why")
    for event in events[-40:]:
        when = event.time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S.%f")[:23]
        who = event.actor.account_name or "system"
        print(f"  {when}  {who:8}  {event.type:32}  {event.origin:22}  {event.reason}")
    print("\nIts jobs:")
    for job in sorted(jobs.values(), key=lambda j: j.create_date.ToMicroseconds())[-10:]:
        took = (job.finish_date.ToMicroseconds() - job.create_date.ToMicroseconds()) / 1e6
        state = job.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_number[job.state].name.removeprefix("STATE_")
        print(f"  {job.name:32}  {state.lower():10}  {max(took, 0):6.1f} s")
        for step in job.steps:
            if step.HasField("start_date") and step.HasField("finish_date"):
                spent = (step.finish_date.ToMicroseconds() - step.start_date.ToMicroseconds()) / 1e6
                print(f"      {step.name:30}              {spent:6.1f} s")


def how_to_go_on(server: str, directory: str, vm_uuid: str, address: str) -> None:
    """First calls from three clients."""
    environment = f"ZCLOUD_SERVER={server} ZCLOUD_DATA={directory} "
    print(
        f"""
The VM answers on {address}. Call the API yourself:

  {environment}.venv/bin/zcloud QueryVmInstance 'state=Running'
  {environment}.venv/bin/zcloud StopVmInstance uuid={vm_uuid} --reason "trying it out"
  .venv/bin/zcloud help CreateVmInstance

  TOKEN=$(.venv/bin/buf curl --protocol grpc --http2-prior-knowledge \\
      -d '{{"account_name":"admin","password":"'"$(cat {directory}/admin-password)"'"}}' \\
      http://{server}/zcloud.v1.SessionService/LogInByAccount | sed -n 's/.*"token": "\\(.*\\)",/\\1/p')
  .venv/bin/buf curl --protocol grpc --http2-prior-knowledge -H "authorization: Bearer $TOKEN" \\
      -d '{{"filter":"state = Running"}}' http://{server}/zcloud.v1.VmInstanceService/QueryVmInstance

  grpcurl -plaintext {server} list
  grpcurl -plaintext -H "authorization: Bearer $TOKEN" {server} zcloud.v1.ZoneService/QueryZone
"""
    )
    sys.stdout.flush()
