"""A resource with a field of every type, also of those that no resource of the API has yet."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory, timestamp_pb2

from zcloud.v1 import options_pb2

F = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "zcloud.test"


def _add(
    message: descriptor_pb2.DescriptorProto, name: str, kind: int, type_name: str = "", many: bool = False
) -> descriptor_pb2.FieldDescriptorProto:
    label = F.LABEL_REPEATED if many else F.LABEL_OPTIONAL
    number = len(message.field) + 1
    field = message.field.add(name=name, number=number, type=kind, label=label)  # type: ignore[arg-type]
    if type_name:
        field.type_name = type_name
    return field


def _file(resource_kind: str) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name=f"test/{resource_kind}.proto", package=f"{_PACKAGE}.{resource_kind}", syntax="proto3"
    )
    file.dependency.extend([timestamp_pb2.DESCRIPTOR.name, duration_pb2.DESCRIPTOR.name, options_pb2.DESCRIPTOR.name])
    prefix = f".{file.package}"
    spot = file.message_type.add(name="Spot")
    _add(spot, "rack", F.TYPE_STRING)
    _add(spot, "unit", F.TYPE_INT32)
    _add(spot, "labels", F.TYPE_STRING, many=True)
    secret = _add(spot, "pin", F.TYPE_STRING)
    secret.options.Extensions[options_pb2.rules].secret = True
    widget = file.message_type.add(name="Widget")
    widget.options.Extensions[options_pb2.resource].kind = resource_kind
    _add(widget, "uuid", F.TYPE_STRING)
    _add(widget, "ratio", F.TYPE_DOUBLE)
    _add(widget, "signed", F.TYPE_SINT64)
    _add(widget, "unsigned", F.TYPE_UINT64)
    _add(widget, "blob", F.TYPE_BYTES)
    _add(widget, "grace", F.TYPE_MESSAGE, ".google.protobuf.Duration")
    _add(widget, "spot", F.TYPE_MESSAGE, f"{prefix}.Spot")
    _add(widget, "spots", F.TYPE_MESSAGE, f"{prefix}.Spot", many=True)
    _add(widget, "sizes", F.TYPE_INT64, many=True)
    _add(widget, "times", F.TYPE_MESSAGE, ".google.protobuf.Timestamp", many=True)
    _add(widget, "self", F.TYPE_MESSAGE, f"{prefix}.Widget")
    password = _add(widget, "password", F.TYPE_STRING)
    password.options.Extensions[options_pb2.rules].secret = True
    maybe = _add(widget, "maybe", F.TYPE_INT32)
    maybe.proto3_optional = True
    maybe.oneof_index = 0
    widget.oneof_decl.add(name="_maybe")
    return file


def widget_type(kind: str = "widget") -> Any:
    """The message class."""
    pool = descriptor_pool.Default()
    try:
        descriptor = pool.FindMessageTypeByName(f"{_PACKAGE}.{kind}.Widget")
    except KeyError:
        pool.AddSerializedFile(_file(kind).SerializeToString())
        descriptor = pool.FindMessageTypeByName(f"{_PACKAGE}.{kind}.Widget")
    return message_factory.GetMessageClass(descriptor)
