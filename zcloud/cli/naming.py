"""Names as people write them: fields in snake_case or camelCase, enum values in short form."""

import re
from collections.abc import Iterable

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from zcloud.cli.catalog import rules_of

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def find_field(message: Descriptor, name: str) -> FieldDescriptor | None:
    """The field of that name in snake_case or camelCase."""
    return message.fields_by_name.get(name) or message.fields_by_camelcase_name.get(name)


def short_form(enum: EnumDescriptor, number: int) -> str | None:
    """Running for STATE_RUNNING; None for the zero value, which says that there is none."""
    if number == 0:
        return None
    value = enum.values_by_number.get(number)
    if value is None:
        return str(number)  # a server newer than we are
    return "".join(word.capitalize() for word in value.name.removeprefix(_prefix(enum)).split("_"))


def short_forms(field: FieldDescriptor) -> list[str]:
    """The values that are meant for a field, in short form, without the zero value."""
    enum, meant = field.enum_type, rules_of(field).values
    values = [value for value in enum.values if not meant or value.name in meant]
    return [short for value in values if (short := short_form(enum, value.number)) is not None]


def enum_number(enum: EnumDescriptor, text: str) -> int | None:
    """The number of a value in any form: Running, running, no_state, STATE_RUNNING."""
    wanted = _letters(text)
    for value in enum.values:
        if wanted in (_letters(value.name), _letters(value.name.removeprefix(_prefix(enum)))):
            return int(value.number)
    return None


def is_size(field: FieldDescriptor) -> bool:
    """Whether a number counts bytes, by the words the API uses for such fields."""
    if field.cpp_type not in (FieldDescriptor.CPPTYPE_UINT64, FieldDescriptor.CPPTYPE_INT64):
        return False
    words = field.name.split("_")
    return words[-1] in ("size", "bytes") or (words[-1] == "capacity" and "cpu" not in words)


def type_name(field: FieldDescriptor) -> str:
    """The type in a person's words."""
    if field.enum_type is not None:
        name = " | ".join(short_forms(field))
    elif field.message_type is not None:
        name = field.message_type.name
    elif is_size(field):
        name = "size"
    else:
        name = _SCALARS[field.cpp_type]
    return f"list of {name}" if field.is_repeated else name


def field_names(message: Descriptor) -> Iterable[str]:
    """All names in snake_case."""
    return [field.name for field in message.fields]


_SCALARS = {
    FieldDescriptor.CPPTYPE_BOOL: "bool",
    FieldDescriptor.CPPTYPE_DOUBLE: "number",
    FieldDescriptor.CPPTYPE_FLOAT: "number",
    FieldDescriptor.CPPTYPE_INT32: "integer",
    FieldDescriptor.CPPTYPE_INT64: "integer",
    FieldDescriptor.CPPTYPE_UINT32: "integer",
    FieldDescriptor.CPPTYPE_UINT64: "integer",
    FieldDescriptor.CPPTYPE_STRING: "string",
}


def _prefix(enum: EnumDescriptor) -> str:
    return _WORD_START.sub("_", enum.name).upper() + "_"


def _letters(text: str) -> str:
    return text.replace("_", "").replace("-", "").lower()
