"""How many files a process may have open: a connection is one, and the usual thousand is a tenth of what is wanted."""

from __future__ import annotations

import resource


def allow_most() -> int:
    """As many as this process may allow itself; how many these are."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most
