"""Passwords of accounts: argon2id, in a small pool, so that logins can't take the whole node."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

# OWASP's second choice: 19 MiB, two passes; about 20 ms on a slow core.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_pool = ThreadPoolExecutor(2, thread_name_prefix="argon2")
# Verified against when there is no such account, so that the time does not tell.
_NOBODY = _hasher.hash("nobody")


async def hash_password(password: str) -> str:
    """In PHC form."""
    return await asyncio.get_running_loop().run_in_executor(_pool, _hasher.hash, password)


async def verify(password_hash: str, password: str) -> bool:
    """Whether the password is the one; an empty hash takes as long and is never right."""

    def check() -> bool:
        try:
            return _hasher.verify(password_hash or _NOBODY, password) and bool(password_hash)
        except VerificationError:
            return False

    return await asyncio.get_running_loop().run_in_executor(_pool, check)
