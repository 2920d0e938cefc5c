"""ZStack's conditions ('state=Enabled' 'name~=web%' 'cpuNum>=2' 'uuid?=a,b') as a filter of ours."""

import re
from collections.abc import Callable, Iterable

from projections.query.errors import FilterError

# Longest operators first, as ZStack reads them.
_CONDITION = re.compile(
    r"\s*(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\s*"
    r"(?:(?P<null>(?:=|!=)\s*null|\bis\s+null|\b(?:is\s+)?not\s+null)\s*|(?P<operator>!\?=|!~=|\?=|~=|!=|>=|<=|=|>|<)(?P<value>.*))",
    re.DOTALL | re.ASCII,
)

# ZStack's name for the texts of user tags.
USER_TAG = "__userTag__"


def _quote(text: str) -> str:
    """The text as a value that means just that text."""
    return '"' + re.sub(r'[\\"*]', r"\\\g<0>", text) + '"'


def _pattern(text: str) -> str:
    """LIKE's pattern as ours. Its one-character wildcard _ is taken as it is: names have underscores."""
    pieces = re.split(r"(\\.|%)", text, flags=re.DOTALL)
    body = "".join("*" if piece == "%" else _quote(re.sub(r"^\\(?=[%_\\])", "", piece))[1:-1] for piece in pieces)
    return f'"{body}"'


def _listed(name: str, text: str) -> str:
    """Any of the values between commas; a comma that belongs to a value is written with a backslash."""
    values = [re.sub(r"\\,", ",", value) for value in re.split(r"(?<!\\),", text)]
    return "(" + " OR ".join(f"{name} = {_quote(value)}" for value in values) + ")"


_SPECIAL: dict[str, Callable[[str, str], str]] = {
    "~=": lambda name, value: f"{name} = {_pattern(value)}",
    "!~=": lambda name, value: f"{name} != {_pattern(value)}",
    "?=": _listed,
    "!?=": lambda name, value: f"NOT {_listed(name, value)}",
}


def _tagged(name: str, operator: str | None, value: str, null: str | None) -> str:
    """A negation is also true of what has no tag, or another one besides."""
    if operator is None:
        return f"{name} {'!=' if '!' in str(null) or 'not' in str(null) else '='} null"
    positive = {"!=": "=", "!~=": "~=", "!?=": "?="}.get(operator, operator)
    special = _SPECIAL.get(positive)
    term = special(name, value) if special else f"{name} {positive} {_quote(value)}"
    return term if positive == operator else f"NOT ({term})"


def _term(condition: str, position: int) -> str:
    match = _CONDITION.fullmatch(condition)
    if match is None:
        raise FilterError(
            f'"{condition}" is no condition; write a field, one of = != > >= < <= ?= !?= ~= !~=, and a value',
            position,
        )
    name, operator, value = match["name"], match["operator"], match["value"]
    if name.split(".")[-1] == USER_TAG:
        return _tagged(name.removesuffix(USER_TAG) + "tag", operator, value, match["null"])
    if operator is None:
        return f"{name} {'!=' if '!' in match['null'] or 'not' in match['null'] else '='} null"
    special = _SPECIAL.get(operator)
    return special(name, value) if special else f"{name} {operator} {_quote(value)}"


def translate(conditions: Iterable[str]) -> str:
    """The filter that all of the conditions make together; an error's position counts the conditions' characters."""
    terms: list[str] = []
    position = 0
    for condition in conditions:
        terms.append(_term(condition, position))
        position += len(condition) + 1
    return " AND ".join(terms)
