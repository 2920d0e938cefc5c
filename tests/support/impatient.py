"""What is different in a node that loses patience early with who fills its read models."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from projections import follower, worker

# In its directory: the process that fills the read models, and a file as long as which none begins.
PROCESS, HOLD = "worker.pid", "hold"


def begin(argv: Sequence[str]) -> None:
    """In each of its processes, before its main."""
    follower.QUIET_SECONDS, worker.BEAT_SECONDS = 1.0, 0.1
    if sys.argv[0] == "projections.worker":
        directory = Path(argv[argv.index("--data") + 1])
        while (directory / HOLD).exists():
            time.sleep(0.02)
        (directory / PROCESS).write_text(str(os.getpid()))
