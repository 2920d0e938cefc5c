"""README and docs name only what there is: commands with their fields and options, RPCs, settings, variables, files."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.docs import pages
from tests.support.cloud import ServerProcess
from zcloud.cli import arguments, catalog
from zcloud.cli import main as program
from zcloud.cli.errors import CliError
from zcloud.domain.operations.settings import KNOWN

SOURCES = ("zcloud", "agents", "projections", "tools", "proto")
FOLDERS = (*SOURCES, "bench", "docs", "tests")
# Of PostgreSQL and Python.
FOREIGN = {"--config-file", "Traceback"}
# Their words are names of things, and they neither ask a server nor serve.
PRINTS = ("list", "help", "completion")


class ParsedError(Exception):
    """A command line that was understood, and is not to be obeyed."""


@pytest.fixture
def understood(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], None]:
    """Reads a command line of ours to its end, and does nothing of it; raises CliError where it is wrong."""
    monkeypatch.setattr(arguments._Inputs, "read", lambda _, path, text: text)
    plain = argparse.ArgumentParser.parse_args

    def parse(self: argparse.ArgumentParser, *given: Any) -> NoReturn:
        plain(self, *given)
        raise ParsedError

    def read(words: list[str]) -> None:
        if words[0] in PRINTS:
            if words[0] == "help":
                catalog.find(words[1])
            return
        if words[0] in catalog.COMMANDS:
            with monkeypatch.context() as patched, contextlib.suppress(ParsedError):
                patched.setattr(argparse.ArgumentParser, "parse_args", parse)
                raise AssertionError(program._dispatch(words))
        else:
            rpc = catalog.find(words[0])
            options = arguments.parse(rpc, words[1:])
            if not rpc.method.client_streaming:  # a file is no field
                arguments.request_of(rpc, options.words)

    return read


def test_commands_exist_and_take_what_they_are_given(understood: Callable[[list[str]], None]) -> None:
    for page in pages.PAGES:
        wrong = []
        for words in pages.commands(page, "zcloud"):
            if len(words) == 1 or (words[0] == "agent" and len(words) == 2):  # by its name only
                assert words[0] in catalog.COMMANDS or catalog.find(words[0])
                assert words[-1] in program._AGENTS or words[0] != "agent"
                continue
            try:
                understood(words)
            except (CliError, SystemExit) as error:
                wrong.append(f"zcloud {' '.join(words)}: {error}")
        assert not wrong, "\n".join(wrong)


def test_queries_are_answered(server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a server with nothing in it: fields, relations and values that they name are there (ARC-14)."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("ZCLOUD_SERVER", server.address)
    monkeypatch.setenv("ZCLOUD_DATA", str(server.directory))
    # Names are of what a reader has.
    monkeypatch.setattr("zcloud.cli.references.uuid_of", lambda *_: pages.PLACEHOLDER)
    asked = 0
    for words in (words for page in pages.PAGES for words in pages.commands(page, "zcloud")):
        rpc = catalog.get(words[0])
        if rpc is not None and rpc.queries and "--server" not in words:
            assert program.main(words) == 0, words
            asked += 1
    assert asked > 10


def test_filters_that_the_api_shows_are_answered(server: ServerProcess) -> None:
    """By a server with nothing in it: whoever reads the API copies them from there (UI-02)."""
    asked = 0
    for file in sorted((pages.ROOT / "proto").glob("**/*.proto")):
        for comment, name in re.findall(r"((?:^  //.*\n)+)^  rpc (Query\w+)", file.read_text(), re.MULTILINE):
            for shown in re.findall(r"`([^`]+)`", comment.replace("\n  //", "")):
                server.admin.call(name, filter=shown)
                asked += 1
    assert asked > 10


def test_make_has_the_targets_and_the_variables() -> None:
    for page in pages.PAGES:
        rules = (pages.ROOT / "Makefile").read_text()
        for words in pages.commands(page, "make"):
            assert re.search(rf"^{words[0]}:", rules, re.MULTILINE), words
            for name in (word.partition("=")[0] for word in words[1:] if "=" in word):
                assert f"$({name})" in rules, words


def test_modules_are_there() -> None:
    for page in pages.PAGES:
        for words in pages.commands(page, "python -m"):
            assert importlib.util.find_spec(words[0]), words


def test_links_lead_somewhere() -> None:
    for page in pages.PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            path, _, anchor = link.partition("#")
            if "://" in path:
                continue
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """As they are made of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_names_are_known_to_the_code() -> None:
    """RPCs, values, options, variables: a word that no source has was renamed, or was never there."""
    for page in pages.PAGES:
        for span in pages.spans(page):
            for name in names(span):
                # Variables of options are made of their names.
                option = "--" + name.removeprefix("ZCLOUD_").lower().replace("_", "-")
                assert {name, option} & (words_of_the_code() | FOREIGN), f"{name} in `{span}`"


def names(span: str) -> Iterator[str]:
    """What in a span of code can be looked for in ours."""
    if re.fullmatch(r"[A-Z][a-z]+[A-Za-z0-9]*", span):
        yield span
    yield from re.findall(r"\bZCLOUD_[A-Z_]+", span)
    if span.startswith(("--", "zcloud ")):
        yield from re.findall(r"(?<!\S)--[a-z][a-z-]*", span)


@cache
def words_of_the_code() -> frozenset[str]:
    found: set[str] = set()
    for folder in SOURCES:
        for path in (pages.ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".proto") and not path.name.endswith(("_pb2.py", "_pb2_grpc.py")):
                found.update(re.findall(r"(?<![\w-])(?:--[a-z][a-z-]*|\w+)", path.read_text()))
    return frozenset(found)


def test_files_and_settings_are_there() -> None:
    for page in pages.PAGES:
        known = {f"{setting.category}/{setting.name}" for setting in KNOWN}
        categories = {name.partition("/")[0] for name in known}
        for span in pages.spans(page):
            if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./-]*", span):
                assert (pages.ROOT / span).exists(), span
            elif span.partition("/")[0] in categories and re.fullmatch(r"\w+/\w[\w.]*", span):
                assert span in known or span.endswith((".jsonl", ".key")), span
