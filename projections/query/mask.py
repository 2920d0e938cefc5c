"""Read masks: which fields of the resources the caller wants."""

from google.protobuf.descriptor import Descriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from projections.query.errors import QueryError, alternatives

MAX_PATHS = 100


def _canonical(descriptor: Descriptor, path: str) -> str:
    names: list[str] = []
    here: Descriptor | None = descriptor
    many = ""
    for name in path.split("."):
        if here is None or many:
            what = f"{many} is a list" if many else f"{'.'.join(names)} has no fields"
            raise QueryError("read_mask", f"{path}: {what}; name {'.'.join(names)} as a whole")
        field = here.fields_by_name.get(name) or here.fields_by_camelcase_name.get(name)
        if field is None:
            offered = alternatives(name, here.fields_by_name)
            raise QueryError("read_mask", f'{here.name} has no field "{name}" in {path}; {offered}')
        names.append(field.name)
        here = field.message_type
        many = field.name if field.is_repeated else ""
    return ".".join(names)


def parse_mask(message_type: type[Message], mask: FieldMask | None) -> FieldMask | None:
    """The mask in the proto's names; None where everything is wanted."""
    if mask is None or not mask.paths or list(mask.paths) == ["*"]:
        return None
    if len(mask.paths) > MAX_PATHS:
        raise QueryError("read_mask", f"the read mask has {len(mask.paths)} paths; at most {MAX_PATHS} are taken")
    return FieldMask(paths=[_canonical(message_type.DESCRIPTOR, path) for path in mask.paths])


def apply(mask: FieldMask, message: Message) -> Message:
    """A message with only the fields that the mask names."""
    masked = type(message)()
    mask.MergeMessage(message, masked)
    return masked
