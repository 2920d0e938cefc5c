"""Groups, held against plain counting over random clouds."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import pytest

from projections.query.errors import PageTokenError, QueryError
from projections.query.group import group
from projections.query.query import run
from projections.query.viewer import Viewer
from tests.projections.world import ADMIN, ALICE, fresh_models, make_world, memory

ROOT = Viewer(ADMIN, True)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("viewer", [ROOT, Viewer(ALICE)], ids=["admin", "alice"])
def test_groups_are_what_counting_finds(seed: int, viewer: Viewer) -> None:
    world = make_world(seed)
    models = fresh_models()
    asked: dict[str, Any] = {"viewer": viewer, "filter": "cpu_num >= 2"}
    with memory() as connection:
        world.store(connection, models)
        model = models["vm_instance"]
        found = run(connection, model, models, page_size=1000, **asked).messages
        counts: Counter[tuple[str, str]] = Counter()
        cpus: dict[tuple[str, str], int] = defaultdict(int)
        memories: dict[tuple[str, str], int] = defaultdict(int)
        for vm in found:
            state = type(vm).State.Name(vm.state).removeprefix("STATE_").replace("_", "").lower()  # type: ignore[attr-defined]
            key = ("" if state == "unspecified" else state, vm.host_uuid)  # type: ignore[attr-defined]
            counts[key] += 1
            cpus[key] += vm.cpu_num  # type: ignore[attr-defined]
            memories[key] += vm.memory_size  # type: ignore[attr-defined]
        seen, token = [], ""
        while True:
            page = group(
                connection, model, models, group_by="state, hostUuid", sums="cpu_num,memory_size",
                page_size=3, page_token=token, count=True, **asked,
            )  # fmt: skip
            assert page.total == len(found)
            seen += page.groups
            token = page.next_page_token
            if not token:
                break
        named = {((g.key["state"] or "").lower(), g.key["hostUuid"] or ""): g for g in seen}
        assert len(named) == len(seen)
        assert {key: g.count for key, g in named.items()} == counts
        assert {key: g.sums["cpu_num"] for key, g in named.items()} == cpus
        assert {key: g.sums["memory_size"] for key, g in named.items()} == {
            key: min(size, 2**63 - 1) for key, size in memories.items()
        }


@pytest.mark.parametrize(
    ("argument", "asked"),
    [
        ("group_by", {"group_by": "colour"}),
        ("group_by", {"group_by": "vm_nics"}),
        ("group_by", {"group_by": "state,state"}),
        ("group_by", {"group_by": "state,"}),
        ("sums", {"group_by": "state", "sums": "name"}),
        ("sums", {"group_by": "state", "sums": "cpu_nmu"}),
        ("filter", {"group_by": "state", "filter": "colour = 1"}),
        ("page_size", {"group_by": "state", "page_size": -1}),
    ],
)
def test_what_cannot_be_grouped_is_refused_by_its_argument(argument: str, asked: dict[str, Any]) -> None:
    models = fresh_models()
    with memory() as connection:
        for model in models:
            model.create(connection)
        with pytest.raises(QueryError) as refused:
            group(connection, models["vm_instance"], models, viewer=ROOT, **asked)
        assert refused.value.argument == argument
        if "nmu" in str(asked):
            assert "cpu_num" in refused.value.message


def test_tokens_of_other_queries_are_refused() -> None:
    models = fresh_models()
    with memory() as connection:
        make_world(3).store(connection, models)
        model = models["vm_instance"]
        page = group(connection, model, models, viewer=ROOT, group_by="name", page_size=1)
        plain = run(connection, model, models, viewer=ROOT, page_size=1)
        for token, by in ((page.next_page_token, "state"), (plain.next_page_token, "name"), ("x", "name")):
            with pytest.raises(PageTokenError):
                group(connection, model, models, viewer=ROOT, group_by=by, page_token=token)
        with pytest.raises(PageTokenError):
            run(connection, model, models, viewer=ROOT, page_token=page.next_page_token)
