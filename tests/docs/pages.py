"""The pages that people read, and the commands that stand in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = tuple(sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]))
# What a reader puts something of his own in the place of.
PLACEHOLDER = "0" * 32
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^ {4}\S.*\n(?: *\n(?= {4}))?)+", re.MULTILINE)
_SPAN = re.compile(r"`([^`]+)`")
_ENDS = ("|", "||", "&", "&&", ";", ")", "`")


def blocks(page: Path) -> list[str]:
    """What is typed as a whole: fenced without another language's name, or indented."""
    text = page.read_text()
    fenced = [body for language, body in _FENCE.findall(text) if not language]
    return [*fenced, *(match[0] for match in _INDENTED.finditer(_FENCE.sub("", text)))]


def spans(page: Path) -> list[str]:
    """What stands in lines of prose, put back on one line."""
    return [" ".join(span.split()) for span in _SPAN.findall(_FENCE.sub("", page.read_text()))]


def lines(block: str) -> list[str]:
    """The lines of a block, with those that go on put together."""
    return block.replace("\\\n", " ").splitlines()


def commands(page: Path, program: str) -> Iterator[list[str]]:
    """The words behind a program, wherever the page names it with some."""
    for line in [*(line for block in blocks(page) for line in lines(block)), *spans(page)]:
        # What a command does may stand behind it, at a distance.
        line = re.split(r" {3,}(?=\S)", line.strip(), maxsplit=1)[0] if line.startswith(program) else line
        for match in re.finditer(rf"(?:^|[\s$(])(?:\.venv/bin/)?{program} (?=\S)", line):
            if words := _words(line[match.end() :]):
                yield words


def _words(text: str) -> list[str]:
    """Up to the end of the command."""
    text = re.sub(r"<[\w -]+>", PLACEHOLDER, text).replace("<(", " ")
    text = re.sub(r"\s[012]?>[^\s;]+", " ", text)
    read = shlex.shlex(text, posix=True, punctuation_chars="|&;()`")
    read.whitespace_split = True
    found: list[str] = []
    for word in read:
        if word.strip("|&;()`") == "":
            break
        if word != "…":
            found.append(word.strip(",."))
    return found
