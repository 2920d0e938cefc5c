"""Short forms of enum values: STATE_NO_STATE of VmInstance.State reads "NoState" in tables and in filters."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from google.protobuf.descriptor import EnumDescriptor


def _short(name: str, prefix: str) -> str:
    return "".join(word.capitalize() for word in name.removeprefix(prefix).split("_"))


@cache
def short_names(enum: EnumDescriptor) -> Mapping[int, str]:
    """Short form of each value by its number, without the unspecified one, which means that there is no value."""
    zero = enum.values_by_number[0].name
    # The style guide gives every value the prefix of the zero value, <PREFIX>_UNSPECIFIED.
    prefix = zero.removesuffix("UNSPECIFIED") if zero.endswith("_UNSPECIFIED") else ""
    return MappingProxyType({value.number: _short(value.name, prefix) for value in enum.values if value.number})


@cache
def accepted_names(enum: EnumDescriptor) -> Mapping[str, str]:
    """What a caller may write for a value, short or as in the proto, to the short form."""
    short = short_names(enum)
    names = {name: name for name in short.values()}
    names.update({value.name: short[value.number] for value in enum.values if value.number})
    return MappingProxyType(names)
