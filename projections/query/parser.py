"""From the text of a filter to its tree, with errors that say where and what was expected."""

import re
from dataclasses import dataclass
from importlib import resources
from typing import Any

from lark import Lark, Token, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError
from lark.visitors import Transformer_NonRecursive

from projections.query.errors import FilterError
from projections.query.tree import Combined, Compare, Literal, Node, Not

MAX_LENGTH = 4096
MAX_DEPTH = 32
MAX_TERMS = 256

_EXPECTED = {
    "OPERATOR": "AND or OR",
    "NEGATION": "NOT",
    "LEFT": '"("',
    "RIGHT": '")"',
    "PATH": "a field",
    "COMPARATOR": "one of = != < <= > >= :",
    "STRING": "a value",
    "VALUE": "a value",
    "$END": "the end of the filter",
}
_TOKENS = re.compile(r"\\(.)|(\*)|([^\\*]+)|(\\)", re.DOTALL)


@dataclass(frozen=True)
class _Span:
    """A node with the text it was read from."""

    node: Node
    start: int
    end: int


def _literal(token: Token) -> Literal:
    quoted = token.type == "STRING"
    parts = [""]
    for escaped, star, plain, backslash in _TOKENS.findall(token[1:-1] if quoted else token):
        if star:
            parts.append("")
        else:
            parts[-1] += escaped or plain or backslash
    if "\0" in token:
        raise FilterError("a value holds a zero byte, which no field does; leave it out", token.start_pos)
    return Literal(tuple(parts), quoted, token.start_pos)


@v_args(inline=True)
class _Builder(Transformer_NonRecursive):
    """Builds the tree without recursion, so that no depth of the text becomes a depth of calls."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text
        self._terms = 0

    def start(self, span: _Span) -> Node:
        return span.node

    def comparison(self, path: Token, operator: Token, value: Token) -> _Span:
        if value.type == "VALUE" and value in ("AND", "OR", "NOT"):
            raise FilterError(
                f'{path} {operator} has no value before {value}; give it one, or write "{value}" in quotes',
                value.start_pos,
            )
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise FilterError(f"the filter has more than {MAX_TERMS} comparisons; split the query", path.start_pos)
        node = Compare(tuple(path.split(".")), str(operator), _literal(value), path.start_pos)
        return _Span(node, path.start_pos, value.end_pos)

    def negation(self, sign: Token, span: _Span) -> _Span:
        node = Not(span.node, self._deeper(sign.start_pos, span))
        return _Span(node, sign.start_pos, span.end)

    def group(self, left: Token, span: _Span, right: Token) -> _Span:
        return _Span(span.node, left.start_pos, right.end_pos)

    def expression(self, first: _Span, *rest: Any) -> _Span:
        if not rest:
            return first
        terms: list[_Span] = [first, *rest[1::2]]
        operators: list[Token] = list(rest[::2])
        if len(set(operators)) > 1:
            raise self._mixed(terms, operators)
        depth = self._deeper(first.start, *terms)
        node = Combined(str(operators[0]), tuple(term.node for term in terms), depth)
        return _Span(node, first.start, terms[-1].end)

    def _deeper(self, position: int, *spans: _Span) -> int:
        depth = 1 + max(span.node.depth for span in spans)
        if depth > MAX_DEPTH:
            raise FilterError(f"the filter is nested more than {MAX_DEPTH} deep; write it flatter", position)
        return depth

    def _mixed(self, terms: list[_Span], operators: list[Token]) -> FilterError:
        texts = [self._text[term.start : term.end] for term in terms]
        change = next(op for op in operators if op != operators[0])
        readings = " or ".join(_reading(texts, operators, tight) for tight in ("AND", "OR"))
        return FilterError(f"AND and OR stand side by side without parentheses; write {readings}", change.start_pos)


def _reading(texts: list[str], operators: list[Token], tight: str) -> str:
    """The text with parentheses round each run of the operator that is to bind tighter."""
    runs = [[texts[0]]]
    loose = "OR" if tight == "AND" else "AND"
    for operator, text in zip(operators, texts[1:], strict=True):
        if operator == tight:
            runs[-1].append(text)
        else:
            runs.append([text])
    shown = [f"({f' {tight} '.join(run)})" if len(run) > 1 else run[0] for run in runs]
    return f" {loose} ".join(shown)


_PARSER = Lark(
    resources.files(__package__).joinpath("filter.lark").read_text("utf-8"),
    parser="lalr",
    lexer="contextual",
)


def parse(text: str) -> Node | None:
    """The filter's tree; None where it is empty, which every resource satisfies."""
    if not text.strip():
        return None
    if len(text) > MAX_LENGTH:
        raise FilterError(f"the filter has {len(text)} characters; at most {MAX_LENGTH} are read", MAX_LENGTH)
    try:
        node: Node = _Builder(text).transform(_PARSER.parse(text))
    except UnexpectedInput as error:
        raise _syntax_error(text, error) from None
    except VisitError as error:
        raise error.orig_exc from None
    return node


def _syntax_error(text: str, error: UnexpectedInput) -> FilterError:
    position = error.pos_in_stream if error.pos_in_stream is not None else len(text)
    if isinstance(error, UnexpectedToken):
        expected, found = error.accepts or error.expected, str(error.token)
        if error.token.type == "$END":
            position, found = len(text), ""
    else:
        assert isinstance(error, UnexpectedCharacters)
        expected, found = error.allowed or set(), text[position : position + 1]
    words = sorted({_EXPECTED.get(name, name) for name in expected})
    wanted = f"expected {', '.join(words)}" if words else "it cannot stand here"
    if found[:1] in ("'", '"') and "STRING" in expected:
        return FilterError(f"the quote {found[:1]} is never closed; close it, or escape it with a backslash", position)
    if found in ("and", "or", "not"):
        wanted = f"write {found.upper()} in capitals"
    return FilterError(f'unexpected "{found}"; {wanted}' if found else f"the filter ends too early; {wanted}", position)
