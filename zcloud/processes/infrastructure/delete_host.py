"""What is left of a host when it is deleted: its agent is stopped and removed (HST-04)."""

from __future__ import annotations

from zcloud.kernel.workflow import Step
from zcloud.processes.infrastructure.connect import undeploy
from zcloud.processes.operations.deletion import STEPS

STEPS["kvm_host"] = (Step("remove_agent", undeploy, timeout=120, tolerant=True),)
