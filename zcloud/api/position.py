"""Position tokens: opaque to callers, since more stores than one will need more than a number."""

from __future__ import annotations

import base64
import binascii

from zcloud.kernel.errors import invalid

LARGEST = (1 << 63) - 1


def encode(position: int) -> str:
    """The token of a position in the log."""
    return base64.urlsafe_b64encode(f"p1.{position}".encode()).decode().rstrip("=")


def decode(token: str, field: str) -> int:
    """The position; raises INVALID_ARGUMENT naming the field."""
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
        version, _, number = text.partition(".")
        if version != "p1" or not (number.isascii() and number.isdigit()) or int(number) > LARGEST:
            raise ValueError(text)
        return int(number)
    except (ValueError, binascii.Error) as error:
        raise invalid(field, token, "a position that this server gave out") from error
