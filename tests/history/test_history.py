"""History: every event type ever released loads, folds and is shown, and folds share nothing by accident."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from projections.schema.registry import ReadModels
from projections.view import View, rows_of
from tools.golden import HISTORY, known, released, shown_kinds
from zcloud.kernel import event as events
from zcloud.kernel.aggregate import Aggregate, Companion, kinds
from zcloud.kernel.event import Event

UUID = "5" * 32
RELEASED = released()
SAMPLES = known()


def event_of(topic: str, schema: int) -> Event:
    data = SAMPLES[topic, schema]["data"]
    return events.decode(topic, schema, json.dumps(data).encode())


def life(kind: str) -> list[tuple[str, int]]:
    """Samples of a kind in the order in which a life has them: creation, its own, what all have, the end."""
    cls = kinds()[kind]
    rank = {f"{kind}.{name}": n for n, name in enumerate(vars(cls)) if name in cls.events}
    own = [key for key in SAMPLES if key[0] in rank]
    return sorted(own, key=lambda key: (cls.events[key[0].partition(".")[2]].ends, rank[key[0]], key[1]))


def begun(kind: str, until: str = "") -> Aggregate:
    """An aggregate of the kind after its creation, or all that comes in a life before an event."""
    made = kinds()[kind].blank(UUID)
    for topic, schema in life(kind):
        event = event_of(topic, schema)
        if topic == until or event.ends:
            break
        if until or event.begins:
            made.fold(event, 1)
    return made


def views(aggregate: Aggregate) -> Iterator[View]:
    """As whom it is shown."""
    if not isinstance(aggregate, Companion):
        yield View(UUID, aggregate)
        return
    for kind in shown_kinds(aggregate.kind):
        yield View(UUID, begun(kind), {aggregate.stream: aggregate})


def test_every_event_type_has_a_sample_of_its_present_schema() -> None:
    missing = [topic for topic, cls in RELEASED.items() if (topic, cls.schema) not in SAMPLES]
    assert not missing, "run .venv/bin/python -m tools.golden and commit what it adds"


def test_no_released_event_type_is_gone() -> None:
    gone = sorted({topic for topic, _ in SAMPLES} - set(RELEASED))
    assert not gone, "logs hold these; keep their classes"


def test_samples_are_one_line_each_and_in_the_file_of_their_kind() -> None:
    for path in HISTORY.glob("*.jsonl"):
        lines = path.read_text().splitlines()
        assert lines == [line for line in lines if json.loads(line)["type"].partition(".")[0] == path.stem]
        assert path.read_text().endswith("\n")
    assert sum(len(Path(p).read_text().splitlines()) for p in HISTORY.glob("*.jsonl")) == len(SAMPLES)


@pytest.mark.parametrize(("topic", "schema"), SAMPLES)
def test_a_sample_loads_folds_and_is_shown(topic: str, schema: int) -> None:
    event = event_of(topic, schema)
    assert events.decode(topic, RELEASED[topic].schema, events.encode(event)) == event
    kind = topic.partition(".")[0]
    aggregate = kinds()[kind].blank(UUID) if event.begins else begun(kind, topic)
    before = aggregate.version
    aggregate.fold(event, 2)
    assert (aggregate.version, aggregate.last_op_date) == (before + 1, 2)
    models = ReadModels.of_api()
    for view in views(aggregate):
        shown = rows_of(view, models)
        if event.ends:
            assert not shown
        for model, rows in shown:
            assert rows.uuid == UUID
            message: Any = model.message_type.FromString(rows.row["_doc"])
            assert message.uuid == UUID


@pytest.mark.parametrize("kind", sorted({topic.partition(".")[0] for topic in RELEASED}))
def test_folds_replace_collections(kind: str) -> None:
    """Copies share what they hold, so a fold that changes it in place changes what others decided on."""
    own = life(kind)
    aggregate = begun(kind)
    defaults = copy.deepcopy(type(aggregate).defaults)
    for _ in range(2):  # twice, so that every fold meets what the others left
        for topic, schema in own:
            event = event_of(topic, schema)
            if event.begins or event.ends:
                continue
            before = copy.deepcopy(vars(aggregate))
            changed = aggregate.copy()
            changed.fold(event, 3)
            assert vars(aggregate) == before, f"{topic} changed what it shares"
            assert event == event_of(topic, schema)
            aggregate = changed
    assert type(aggregate).defaults == defaults
