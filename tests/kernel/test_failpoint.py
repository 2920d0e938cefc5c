"""Failpoints: armed by name, in a process of its own by the environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from zcloud.kernel import failpoint

PASSES = """
from zcloud.kernel import failpoint
failpoint.arm_from_environment()
for n in range(5):
    print(n, flush=True)
    failpoint.hit("here")
"""


def test_only_what_is_armed_acts() -> None:
    seen: list[int] = []
    failpoint.hit("here")
    failpoint.arm("here", lambda: seen.append(1))
    failpoint.hit("there")
    failpoint.hit("here")
    failpoint.disarm("here")
    failpoint.hit("here")
    assert seen == [1]


@pytest.mark.parametrize(("armed", "printed"), [("here:kill", "0\n"), ("there:kill,here:kill:3", "0\n1\n2\n")])
def test_a_process_dies_where_it_is_told_to(armed: str, printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PASSES], env={**os.environ, "ZCLOUD_FAILPOINT": armed}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, printed)
