"""A filter as a tree, not yet held against any kind."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Literal:
    """A value as written; its parts are what lies between the wildcards."""

    parts: tuple[str, ...]
    quoted: bool
    position: int

    @property
    def text(self) -> str:
        """The value as text, wildcards as stars."""
        return "*".join(self.parts)

    @property
    def has_wildcard(self) -> bool:
        """Whether an unescaped star is in it."""
        return len(self.parts) > 1

    @property
    def is_null(self) -> bool:
        """Whether it is the word null; in quotes that is a text."""
        return not self.quoted and self.parts in (("null",), ("NULL",))

    @property
    def is_presence(self) -> bool:
        """Whether it is a star alone."""
        return self.parts == ("", "")


@dataclass(frozen=True)
class Compare:
    """field operator value; the path may lead through parts and relations."""

    path: tuple[str, ...]
    operator: str
    value: Literal
    position: int
    depth: int = field(default=1, compare=False)


@dataclass(frozen=True)
class Not:
    """What does not satisfy the condition."""

    item: Node
    depth: int = field(default=1, compare=False)


@dataclass(frozen=True)
class Combined:
    """All of the conditions (AND), or at least one of them (OR)."""

    operator: str
    items: tuple[Node, ...]
    depth: int = field(default=1, compare=False)


Node = Compare | Not | Combined
