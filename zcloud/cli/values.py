"""Values from text: fills a request from `field=value`, by what the descriptors say of the field."""

import json
import re
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from zcloud.cli.errors import UsageError, unknown
from zcloud.cli.naming import enum_number, field_names, find_field, is_size, short_forms, type_name

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGTPE])(?:i?B)?|B)?", re.IGNORECASE)
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def assign(message: Message, path: str, value: Any) -> None:
    """Set the field that a dotted path names (static_ips.0.ip) from text or from parsed JSON."""
    _assign(message, path.split("."), path, value)


def _assign(message: Message, steps: list[str], path: str, value: Any) -> None:
    field = _field(message, steps[0], path)
    rest = steps[1:]
    if not rest:
        _set(message, field, path, value)
    elif field.message_type is None and not field.is_repeated:
        raise UsageError(f"{path}: {field.name} is a {type_name(field)} and has no parts.")
    elif _is_map(field):
        _set(message, field, path, {".".join(rest): value})
    elif field.is_repeated:
        _assign_item(message, field, rest, path, value)
    else:
        getattr(message, field.name).SetInParent()
        _assign(getattr(message, field.name), rest, path, value)


def _assign_item(message: Message, field: FieldDescriptor, steps: list[str], path: str, value: Any) -> None:
    items = getattr(message, field.name)
    if not steps[0].isdecimal():
        raise UsageError(f"{path}: {field.name} is a {type_name(field)}; number its items: {field.name}.0")
    index = int(steps[0])
    if index > len(items):
        raise UsageError(f"{path}: items are numbered from 0 without gaps; {field.name}.{len(items)} comes next.")
    if field.message_type is None:
        if len(steps) > 1 or index < len(items):
            raise UsageError(f"{path}: {field.name}.{index} is a single value, given once.")
        _guard(path, field, lambda: items.append(_scalar(field, path, value)))
        return
    item = items[index] if index < len(items) else items.add()
    if len(steps) > 1:
        _assign(item, steps[1:], path, value)
    else:
        _fill(item, path, value)


def _field(message: Message, name: str, path: str) -> FieldDescriptor:
    field = find_field(message.DESCRIPTOR, name)
    if field is None:
        kind = message.DESCRIPTOR.name
        where = f"in {path}; " if "." in path else ""
        all_names = ", ".join(field_names(message.DESCRIPTOR)) or "none"
        raise unknown(f"field of {kind}", name, field_names(message.DESCRIPTOR), f"({where}its fields: {all_names})")
    return field


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _set(message: Message, field: FieldDescriptor, path: str, value: Any) -> None:
    if _is_map(field):
        _set_map(message, field, path, _parsed(path, value, dict, "an object"))
    elif field.is_repeated:
        for item in _items(field, path, value):
            if field.message_type is not None:
                _fill(getattr(message, field.name).add(), path, item)
            else:
                _guard(path, field, lambda item=item: getattr(message, field.name).append(_scalar(field, path, item)))
    elif field.message_type is not None:
        getattr(message, field.name).SetInParent()
        _fill(getattr(message, field.name), path, value)
    else:
        _guard(path, field, lambda: setattr(message, field.name, _scalar(field, path, value)))


def _set_map(message: Message, field: FieldDescriptor, path: str, entries: dict[str, Any]) -> None:
    key, item = (field.message_type.fields_by_name[name] for name in ("key", "value"))
    target = getattr(message, field.name)
    for name, value in entries.items():
        where = f"{path}[{name}]"
        name = _scalar(key, where, name)
        if item.message_type is not None:
            _fill(target[name], where, value)
        else:
            _guard(where, item, lambda name=name, value=value, where=where: _put(target, name, item, where, value))


def _put(target: Any, name: Any, item: FieldDescriptor, where: str, value: Any) -> None:
    target[name] = _scalar(item, where, value)


def _items(field: FieldDescriptor, path: str, value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, str) and value.lstrip().startswith("["):
        return list(_parsed(path, value, list, "a list"))
    if field.message_type is not None or not isinstance(value, str):
        return [value]
    return [item.strip() for item in value.split(",")] if value else []


def _fill(message: Message, path: str, value: Any) -> None:
    """A whole message: one of Google's own in its JSON form, any other from a JSON object."""
    kind = message.DESCRIPTOR
    if kind.full_name == "google.protobuf.FieldMask":
        message.paths.extend(name.strip() for name in str(value).split(",") if name.strip())  # type: ignore[attr-defined]
    elif kind.full_name.startswith("google.protobuf."):
        plain = value
        if kind.name not in ("Timestamp", "Duration") and isinstance(value, str):
            plain = _parsed(path, value, object, "a value")
        try:
            json_format.ParseDict(plain, message)
        except (json_format.ParseError, ValueError) as error:
            raise UsageError(f"{path}: not a {kind.name}: {error}") from None
    else:
        for name, item in _parsed(path, value, dict, f"an object like {_example(message)}").items():
            _set(message, _field(message, name, f"{path}.{name}"), f"{path}.{name}", item)


def _example(message: Message) -> str:
    return "{" + ", ".join(f'"{field.name}": …' for field in message.DESCRIPTOR.fields[:3]) + "}"


def _parsed(path: str, value: Any, kind: type, words: str) -> Any:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise UsageError(f"{path}: JSON is expected, {words}: {error}") from None
    if not isinstance(value, kind):
        raise UsageError(f"{path}: JSON is expected, {words}.")
    return value


def _guard(path: str, field: FieldDescriptor, store: Any) -> None:
    """Protobuf's own refusal (range, UTF-8) in our words, without the value: it may be a secret."""
    try:
        store()
    except UsageError:
        raise
    except (ValueError, TypeError):
        raise UsageError(f"{path}: not a {type_name(field)}, or out of its range.") from None


def _scalar(field: FieldDescriptor, path: str, value: Any) -> Any:
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if isinstance(value, str):
            return value.encode() if field.type == FieldDescriptor.TYPE_BYTES else value
        raise UsageError(f"{path}: text is expected, not {json.dumps(value)}.")
    text = value if isinstance(value, str) else json.dumps(value)
    if field.enum_type is not None:
        number = enum_number(field.enum_type, text)
        if number is None:
            values = short_forms(field)
            raise unknown(f"value of {path}", text, values, f"(its values: {', '.join(values)})")
        return number
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if text.lower() not in _TRUE + _FALSE:
            raise UsageError(f"{path}: true or false is expected, not {text!r}.")
        return text.lower() in _TRUE
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return _number(path, text, float)
    return _size(path, text) if is_size(field) else _number(path, text, int)


def _number(path: str, text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError:
        words = "a whole number" if kind is int else "a number"
        raise UsageError(f"{path}: {words} is expected, not {text!r}.") from None


def _size(path: str, text: str) -> int:
    """Bytes from 128M, 1.5GiB or 4096; as in ZStack all units are powers of 1024."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{path}: a size is expected, like 4096, 128M or 1.5GiB, not {text!r}.")
    factor = 1024 ** (" KMGTPE".index(match[2].upper()) if match[2] else 0)
    # Not through a float for whole numbers: 2^63 would lose its last digits.
    return int(match[1]) * factor if match[1].isdecimal() else round(float(match[1]) * factor)
