"""What a caller can get wrong in a query; each error names the argument, and a filter's the place in it."""

import difflib
from collections.abc import Iterable


class QueryError(ValueError):
    """An argument of a query is wrong, whatever the resources are."""

    def __init__(self, argument: str, message: str) -> None:
        super().__init__(message)
        # filter, order_by, page_size, page_token or read_mask.
        self.argument = argument
        self.message = message


class FilterError(QueryError):
    """The filter is wrong at a place in its text."""

    def __init__(self, message: str, position: int, field: str = "", nearest: Iterable[str] = ()) -> None:
        # Offset in the text, from 0; people count from 1.
        self.position = position
        self.field = field
        self.nearest = tuple(nearest)
        self.reason = message
        super().__init__("filter", f"{message} (at character {position + 1})")


class PageTokenError(QueryError):
    """The page token is not one of this query's."""

    def __init__(self, message: str) -> None:
        super().__init__("page_token", message)


def nearest(word: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """The known words that are most like the given one, best first."""
    by_lower = {name.lower(): name for name in sorted(known)}
    return [by_lower[match] for match in difflib.get_close_matches(word.lower(), by_lower, n=limit, cutoff=0.6)]


def alternatives(word: str, known: Iterable[str], limit: int = 12) -> str:
    """What to write instead of an unknown word: the nearest ones, or, where none is near, all that fit."""
    names = sorted(known)
    near = nearest(word, names)
    if near:
        return f"did you mean {' or '.join(near)}?"
    listed = ", ".join(names[:limit]) + (", …" if len(names) > limit else "")
    return f"there are: {listed}" if names else "there is none"
