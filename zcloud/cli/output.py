"""Prints answers as table, JSON or YAML."""

import json
import sys
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from zcloud.cli.plain import is_set, plain


def print_answer(response: Message, output: str, request: Message | None = None) -> None:
    """The answer to a call."""
    mask = list(getattr(request, "read_mask", None).paths) if _has_mask(request) else []  # type: ignore[union-attr]
    if output == "table":
        _print_table(response, [path.split(".")[0] for path in mask])
    else:
        data = plain(response, sparse=bool(mask))
        if not data.get("total") and not getattr(request, "count", True):
            data.pop("total", None)  # nobody counted: 0 would say that there is none
        print_data(data, output)
    for warning in getattr(response, "warnings", ()):
        print(f"warning: {warning}", file=sys.stderr)


def print_item(message: Message, output: str) -> None:
    """One message of a stream: a line of JSON, a YAML document, or a line for people."""
    if output == "json":
        print(json.dumps(plain(message), ensure_ascii=False), flush=True)
    elif output == "yaml":
        print("---")
        print_data(plain(message), output)
        sys.stdout.flush()
    else:
        _print_line(message)


def print_data(data: Any, output: str) -> None:
    """Plain data as JSON or YAML."""
    if output == "json":
        print(json.dumps(data, ensure_ascii=False, indent=2))
        return
    import yaml

    yaml.safe_dump(data, sys.stdout, sort_keys=False, allow_unicode=True, default_flow_style=False)


def _has_mask(request: Message | None) -> bool:
    return request is not None and "read_mask" in request.DESCRIPTOR.fields_by_name


def _print_table(response: Message, columns: list[str]) -> None:
    from zcloud.cli.table import print_list, print_one

    answer: Any = response
    fields = response.DESCRIPTOR.fields
    lists = [field for field in fields if field.is_repeated and field.message_type is not None]
    if lists:
        shown = next((field for field in lists if getattr(answer, field.name)), lists[0])  # groups, or inventories
        print_list(list(getattr(answer, shown.name)), columns)
        _say_what_is_left(answer)
    elif _present(answer, "plan"):
        _print_plan(answer.plan)
    elif _present(answer, "inventory"):
        print_one(answer.inventory)
        _print_beside(answer)
    elif any(is_set(response, field) for field in fields):
        print_one(response)


def _print_beside(answer: Any) -> None:
    """What was made beside the resource: RunSchedulerNow opens occurrences, and people ask for them next."""
    for field in answer.DESCRIPTOR.fields:
        if field.is_repeated and field.name != "warnings" and (values := getattr(answer, field.name)):
            print(f"\n{field.name}\n" + "\n".join(f"  {value}" for value in values))


def _print_plan(plan: Any) -> None:
    from zcloud.cli.table import print_list, print_one

    print("Nothing was changed. This would be written:", file=sys.stderr)
    print_list(list(plan.events))
    if plan.HasField("placement"):
        print()
        print_one(plan.placement)


def _present(message: Any, name: str) -> bool:
    return name in message.DESCRIPTOR.fields_by_name and message.HasField(name)


def _say_what_is_left(answer: Any) -> None:
    if getattr(answer, "total", 0):
        print(f"{answer.total} in all", file=sys.stderr)
    if getattr(answer, "next_page_token", ""):
        print(f"more: page_token={answer.next_page_token}", file=sys.stderr)


def _print_line(message: Message) -> None:
    from zcloud.cli.human import text_of

    parts = [field for field in message.DESCRIPTOR.fields if field.message_type is not None and not field.is_repeated]
    if not parts:
        parts_text = [text_of(message, field) for field in message.DESCRIPTOR.fields if is_set(message, field)]
        print("  ".join(parts_text), flush=True)
        return
    inner = parts[0]
    if not message.HasField(inner.name):
        if getattr(message, "change", 0):  # what is gone has no more than a uuid
            print("  ".join(text_of(message, field) for field in message.DESCRIPTOR.fields[:2]), flush=True)
        return  # a bookmark: nothing for a person
    item = getattr(message, inner.name)
    if inner.message_type.full_name == "google.protobuf.Any":
        print("  ".join(text for field in message.DESCRIPTOR.fields if (text := text_of(message, field))), flush=True)
        return
    shown = [field for field in item.DESCRIPTOR.fields if is_set(item, field) and _tells(field)]
    print("  ".join(text_of(item, field) for field in shown), flush=True)


def _tells(field: FieldDescriptor) -> bool:
    opaque = ("position", "schema_version", "request_id", "causation_id", "correlation_id", "version")
    return field.name not in opaque
