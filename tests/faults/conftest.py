"""How much is tried (`make faults SEEDS=100000`), and what came of it in one line."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def seeds() -> int:
    """As many as were asked for; 0 for what the suite takes."""
    return int(os.environ.get("SEEDS") or 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """For whoever reads only the last line of a night."""
    if config.option.markexpr == "faults":
        stats = terminalreporter.stats
        failed = len(stats.get("failed", ())) + len(stats.get("error", ()))
        terminalreporter.write_line(f"{len(stats.get('passed', ()))} passed, {failed} failed")
