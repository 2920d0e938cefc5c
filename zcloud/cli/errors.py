"""What the command line says when something is wrong, and the exit status it ends with."""

import difflib
from collections.abc import Iterable

OK = 0
FAILED = 1
USAGE = 2
UNAVAILABLE = 3
INTERRUPTED = 130


class CliError(Exception):
    """A message for the person at the terminal, with the exit status."""

    status = FAILED


class UsageError(CliError):
    """The command line itself is wrong; nothing was sent."""

    status = USAGE


def nearest(word: str, known: Iterable[str], limit: int = 4) -> list[str]:
    """Names that someone who wrote `word` may have meant, best first."""
    by_lower = {name.lower(): name for name in known}
    lower = word.lower()
    close = difflib.get_close_matches(lower, by_lower, n=limit, cutoff=0.6)
    # Difflib thinks little of a beginning of a long name, which is what people write.
    close += [name for name in sorted(by_lower) if lower and name.startswith(lower) and name not in close]
    return [by_lower[name] for name in close[:limit]]


def unknown(what: str, word: str, known: Iterable[str], where_to_look: str) -> UsageError:
    """'There is no X named Y', with the nearest names and where all of them are listed."""
    names = nearest(word, known)
    hint = f" Did you mean {' or '.join(names)}?" if names else ""
    return UsageError(f"there is no {what} {word!r}.{hint} {where_to_look}")
