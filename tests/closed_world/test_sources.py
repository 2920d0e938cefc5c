"""Sources are closed: time, identity and chance come from the kernel, where tests and simulation can turn them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The raw sources of time, identity and chance.
RAW = {
    "datetime.now", "datetime.utcnow", "datetime.today", "datetime.datetime.now", "datetime.datetime.utcnow",
    "datetime.date.today", "date.today", "time.time", "time.time_ns", "uuid.uuid4", "uuid.uuid1", "uuid4", "uuid1",
    "secrets.token_urlsafe", "secrets.token_hex", "secrets.token_bytes", "os.urandom", "time_ns",
}  # fmt: skip
# Where they may be used, and why.
ALLOWED = {
    "zcloud/kernel/clock.py": "this is the injected clock",
    "zcloud/kernel/ids.py": "these are the injected identifiers",
    "zcloud/kernel/vault.py": "keys and nonces must never be repeatable",
    "zcloud/api/pki.py": "certificates live by the machine's time, to which TLS compares them",
    "zcloud/cli/": "a client, not the server: its times are a person's",
    "agents/": "hosts have their own time; what must be repeatable is injected by the constructor",
    "bench/": "measures",
}


def sources() -> list[Path]:
    return [
        path
        for top in ("zcloud", "projections", "agents")
        for path in sorted((ROOT / top).rglob("*.py"))
        if not path.name.endswith(("_pb2.py", "_pb2_grpc.py"))
    ]


def raw_uses(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Attribute, ast.Name)):
            text = ast.unparse(node)
            if text in RAW or text.startswith("random."):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {text}"


def test_time_identity_and_chance_are_injected() -> None:
    found = [
        use
        for path in sources()
        if not str(path.relative_to(ROOT)).startswith(tuple(ALLOWED))
        for use in raw_uses(path)
    ]
    assert not found, "take the kernel's clock and ids"


@pytest.mark.parametrize("place", ALLOWED)
def test_no_exception_outlives_its_reason(place: str) -> None:
    files = [p for p in sources() if str(p.relative_to(ROOT)).startswith(place)]
    assert place == "bench/" or any(list(raw_uses(p)) for p in files), f"{place} needs no exception any more"


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in sources()
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_no_file_has_grown_past_its_bounds() -> None:
    long = {str(p.relative_to(ROOT)): n for p in sources() if (n := p.read_text().count("\n")) > 400}
    assert not long
