"""Page tokens: where the last page ended, and of which query, so that a token of another query is refused."""

import base64
import hashlib
import json
from collections.abc import Sequence

from projections.query.errors import PageTokenError
from projections.query.order import Key
from projections.schema.fields import FieldType
from projections.schema.values import INT64_MAX, Value

# What the API admits.
MAX_LENGTH = 1024

_AGAIN = "ask for the first page again, without a token"


def query_hash(*parts: str) -> str:
    """What a query's tokens carry of it."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _encode(content: list[object]) -> str:
    raw = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def encode(query: str, uuid: str, values: Sequence[Value]) -> str:
    """A token behind the row with this uuid and these values of the keys.

    Where the values are too long for a token they are left out, and read from the row when the token comes back.
    """
    token = _encode([query, uuid, list(values)])
    return token if len(token) <= MAX_LENGTH else _encode([query, uuid])


def _fits(key: Key, value: object) -> bool:
    match key.field.type:
        case _ if value is None:
            return True
        case FieldType.TEXT | FieldType.ENUM:
            return isinstance(value, str) and "\0" not in value
        case FieldType.NUMBER:
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case _:
            return isinstance(value, int) and not isinstance(value, bool) and -INT64_MAX - 1 <= value <= INT64_MAX


def decode(token: str, query: str, keys: Sequence[Key]) -> tuple[str, list[Value] | None]:
    """The uuid of the last row and its values, which are None where the token was too short for them."""
    try:
        if len(token) > MAX_LENGTH:
            raise ValueError("too long")
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        content = json.loads(raw.decode())
        made_for, uuid, *rest = content
        if not isinstance(made_for, str) or not isinstance(uuid, str) or len(rest) > 1 or "\0" in uuid:
            raise ValueError("no token")
    except (ValueError, TypeError, RecursionError):
        raise PageTokenError(f"the page token is not one that this server made; {_AGAIN}") from None
    if made_for != query:
        raise PageTokenError(f"the page token belongs to a query with another filter or order; {_AGAIN}")
    if not rest:
        return uuid, None
    values = rest[0]
    if (
        not isinstance(values, list)
        or len(values) != len(keys)
        or not all(_fits(key, value) for key, value in zip(keys, values, strict=True))
    ):
        raise PageTokenError(f"the page token is not one that this server made; {_AGAIN}")
    return uuid, values


def gone(kind: str, uuid: str) -> PageTokenError:
    """The row that a short token stands on is no longer there."""
    return PageTokenError(f"the {kind} {uuid} that the last page ended with is gone; {_AGAIN}")
