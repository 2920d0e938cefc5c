"""Processes that share the work of one test: all cores, and code that is imported once."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
# Forked from a process without threads, which the test's own need not be.
PRELOAD = ["tests.faults.harness.explore", "tests.faults.harness.storm", "tests.fuzz.fuzz"]


@lru_cache
def pool() -> ProcessPoolExecutor:
    """One for all tests; it ends with the interpreter."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return ProcessPoolExecutor(os.cpu_count(), mp_context=context)


def spread(act: Callable[[T], R], over: Iterable[T]) -> list[R]:
    """Like map, on all cores; what fails first is raised."""
    return list(pool().map(act, over))
