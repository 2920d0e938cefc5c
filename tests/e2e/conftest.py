"""One cloud on real parts for all end-to-end tests; each leaves it as it found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.lab import Lab, running_lab


@pytest.fixture(scope="package")
def lab() -> Iterator[Lab]:
    """With everything that a VM needs."""
    with running_lab() as made:
        made.build()
        yield made
