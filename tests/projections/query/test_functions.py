"""Text patterns: only our star is a wildcard, in either store's language."""

import pytest
from sqlalchemy import Text, column, literal, select
from sqlalchemy.dialects import postgresql

from projections.query.functions import contains, matches
from tests.projections.world import memory


@pytest.mark.parametrize(
    ("text", "parts", "found"),
    [
        ("a?c", ("a?", ""), True),
        ("abc", ("a?", ""), False),
        ("[x]y", ("[x]", ""), True),
        ("xy", ("[x]", ""), False),
        ("a*c", ("a*", ""), True),
        ("abc", ("a*", ""), False),
        ("a%b_c", ("", "%b_", ""), True),
        ("Web", ("we", ""), False),
        ("aXbXa", ("a", "b", "a"), True),
        ("ab", ("a", "b", "b"), False),
        ("line\nbreak", ("line", "break"), True),
    ],
)
def test_patterns_on_sqlite(text: str, parts: tuple[str, ...], found: bool) -> None:
    with memory() as connection:
        assert connection.execute(select(matches(literal(text), parts))).scalar_one() is found


def test_pieces_are_found_as_they_are_written() -> None:
    with memory() as connection:
        pieces = {"b": True, "B": False, "*": True, "%": False}
        found = {p: connection.execute(select(contains(literal("ab*"), p))).scalar_one() for p in pieces}
        assert found == pieces


def test_patterns_on_postgresql() -> None:
    compiled = matches(column("name", Text()), ("50%", "a_b\\", "")).compile(dialect=postgresql.dialect())
    assert "name LIKE" in str(compiled)
    assert list(compiled.params.values()) == ["50\\%%a\\_b\\\\%"]
