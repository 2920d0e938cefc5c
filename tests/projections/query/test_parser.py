"""Filters as text: how they are read, and what is said about those that cannot be."""

import pytest

from projections.query.errors import FilterError
from projections.query.parser import MAX_DEPTH, MAX_LENGTH, MAX_TERMS, parse
from projections.query.tree import Combined, Compare, Not


def refused(text: str) -> FilterError:
    with pytest.raises(FilterError) as caught:
        parse(text)
    return caught.value


def test_empty_filter_is_no_filter() -> None:
    assert parse("") is None
    assert parse(" \n") is None


def test_not_binds_to_the_next_term_only() -> None:
    tree = parse("NOT a = 1 AND b = 2")
    assert isinstance(tree, Combined)
    assert isinstance(tree.items[0], Not)
    assert isinstance(tree.items[1], Compare)


@pytest.mark.parametrize(
    ("text", "parts", "quoted"),
    [
        ("a = web*", ("web", ""), False),
        ('a = "web\\*"', ("web*",), True),
        ("a = 'it \"is\"'", ('it "is"',), True),
        ('a = "x\\"y\\\\"', ('x"y\\',), True),
        ("a = 2024-05-01T08:00:00+02:00", ("2024-05-01T08:00:00+02:00",), False),
        ("a = -5", ("-5",), False),
        ("a:*", ("", ""), False),
        ('a = "null"', ("null",), True),
        ("a=x,y", ("x,y",), False),
    ],
)
def test_values(text: str, parts: tuple[str, ...], quoted: bool) -> None:
    tree = parse(text)
    assert isinstance(tree, Compare)
    assert (tree.value.parts, tree.value.quoted) == (parts, quoted)


def test_names_that_begin_like_keywords() -> None:
    tree = parse("NOTE = 1 AND ORDER = 2 AND android = 3")
    assert isinstance(tree, Combined)
    assert [item.path for item in tree.items if isinstance(item, Compare)] == [("NOTE",), ("ORDER",), ("android",)]


def test_mixed_and_or_is_refused_with_both_readings() -> None:
    error = refused("a = 1 AND NOT b = 2 OR (c = 3 OR d = 4) AND e = 5")
    assert "(a = 1 AND NOT b = 2) OR ((c = 3 OR d = 4) AND e = 5)" in error.message
    assert "a = 1 AND (NOT b = 2 OR (c = 3 OR d = 4)) AND e = 5" in error.message
    assert error.position == 20
    assert isinstance(parse("(a = 1 AND b = 2) OR c = 3"), Combined)


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ("a =", 3, "ends too early; expected a value"),
        ("a", 1, "expected one of = != < <= > >= :"),
        ('a = "x', 4, "never closed"),
        ("(a = 1", 6, '")"'),
        ("a = 1)", 5, 'unexpected ")"'),
        ("a = 1 and b = 2", 6, "write AND in capitals"),
        ("a = 1 b = 2", 6, 'unexpected "b"; expected AND or OR'),
        ("a == 1", 3, 'unexpected "="'),
        ("a = OR", 4, "has no value before OR"),
        ("= 1", 0, "a field"),
        ("a..b = 1", 1, 'unexpected "'),
        ('a = "x\0"', 4, "zero byte"),
    ],
)
def test_what_cannot_be_read(text: str, position: int, said: str) -> None:
    error = refused(text)
    assert said in error.message
    assert error.position == position
    assert f"at character {position + 1}" in str(error)
    assert error.argument == "filter"


def test_bounds() -> None:
    assert isinstance(parse("(" * 1000 + "a=1" + ")" * 1000), Compare)
    assert "nested more than" in refused("NOT " * (MAX_DEPTH + 1) + "a=1").message
    assert parse("NOT " * (MAX_DEPTH - 1) + "a=1") is not None
    assert "comparisons" in refused(" OR ".join(["a=1"] * (MAX_TERMS + 1))).message
    assert parse(" OR ".join(["a=1"] * MAX_TERMS)) is not None
    assert "characters" in refused("a = " + "x" * MAX_LENGTH).message
    alternating = "a=1"
    for level in range(MAX_DEPTH + 1):
        alternating = f"({alternating}) {'AND' if level % 2 else 'OR'} b=2"
    assert "nested more than" in refused(alternating).message
