"""Explains the API on the terminal: all RPCs, one line each, or one RPC with its fields."""

import shutil
import textwrap

from google.protobuf.descriptor import FieldDescriptor

from zcloud.cli import arguments, catalog, references
from zcloud.cli.catalog import Rpc, rules_of
from zcloud.cli.comments import comment
from zcloud.cli.errors import OK, UsageError
from zcloud.cli.human import size
from zcloud.cli.naming import is_size, type_name

USAGE = """\
zcloud <Rpc> field=value …   call the API; `zcloud help <Rpc>` explains one
zcloud <command> …

commands:
{commands}

examples:
  zcloud CreateZone name=zone1 --reason "first machine room"
  zcloud QueryZone state=Enabled 'name~=zone%' -o json
  zcloud AddKvmHost name=h1 cluster_uuid=… management_ip=10.0.0.5 username=root private_key=@~/.ssh/id_ed25519

environment:
  ZCLOUD_SERVER  where the server is (127.0.0.1:50051), grpcs://HOST:PORT for TLS
  ZCLOUD_CA      the authority that its certificate is of, in PEM form, when it is not one of the system
  ZCLOUD_TOKEN   a session's token; else the session kept from the last login
  ZCLOUD_DATA    the server's data directory, to log in as admin on its machine (var)
"""


def usage() -> str:
    """What the command can do."""
    lines = (f"  {name:<12} {what}" for name, what in catalog.COMMANDS.items())
    return USAGE.format(commands="\n".join(lines))


def list_all(words: list[str]) -> int:
    """All RPCs, or those whose names have these words in them, one line each."""
    wanted = [word.lower().replace("_", "") for word in words]
    rpcs = [rpc for rpc in catalog.all_rpcs() if all(word in rpc.name.lower() for word in wanted)]
    if not rpcs:
        raise UsageError(f"no RPC has {' and '.join(words)!r} in its name; `zcloud list` names them all.")
    width = max(len(rpc.name) for rpc in rpcs)
    for rpc in rpcs:
        print(f"{rpc.name:<{width}}  {rpc.access:<7}  {_summary(rpc)}".rstrip())
    return OK


def explain(name: str) -> int:
    """One RPC: what it does, who may call it, and its fields."""
    rpc = catalog.find(name)
    request = rpc.method.input_type
    print(f"{rpc.name}: {_summary(rpc) or request.name}")
    print(f"\npermission {rpc.rules.permission or '(none)'}, for {_WHO.get(rpc.access, rpc.access)}")
    print("\nfields:" if request.fields else "\nIt takes no fields.")
    for field in request.fields:
        _explain_field(field, 2)
    if rpc.queries:
        print("\nAny other argument is a condition: state=Enabled name~=web% cpu_num>=2 uuid?=a,b description=null")
    print("\nA value @FILE is read from the file, and - from stdin.\n\n" + _options(rpc.name))
    return OK


_WHO = {
    "public": "anyone, without a session",
    "account": "any account, on what it owns or is shared with it",
    "admin": "the admin account only",
    "agent": "agents of hosts",
}


def _options(name: str) -> str:
    text = arguments.parser(name).format_help()
    return text[text.index("options:") :].rstrip()


def _explain_field(field: FieldDescriptor, indent: int) -> None:
    facts = [type_name(field), *_facts(field)]
    print(f"{' ' * indent}{field.name:<{28 - indent}} {'; '.join(facts)}")
    said = comment(field.file, field.full_name)
    if said:
        width = max(40, shutil.get_terminal_size((100, 24)).columns - 30)
        print(textwrap.indent(textwrap.fill(said, width), " " * 29))
    inner = field.message_type
    if inner is not None and not inner.full_name.startswith("google.protobuf."):
        for part in inner.fields:
            _explain_field(part, indent + 2)


def _facts(field: FieldDescriptor) -> list[str]:
    rules = rules_of(field)
    facts = []
    if rules.required:
        facts.append("required")
    if kind := references.kind_named(field):
        facts.append(f"refers to {kind} by uuid or name" if kind != references.ANY else "of any kind, by uuid or name")
    elif rules.format:
        facts.append(_format_name(rules))
    if rules.HasField("min"):
        facts.append(f"at least {size(rules.min) if is_size(field) else rules.min}")
    if rules.HasField("max"):
        facts.append(f"at most {size(rules.max) if is_size(field) else rules.max}")
    if rules.max_length:
        facts.append(f"at most {rules.max_length} characters")
    if rules.max_items:
        facts.append(f"at most {rules.max_items} items")
    if rules.secret:
        facts.append("secret")
    return facts


def _format_name(rules: object) -> str:
    kind = rules.DESCRIPTOR.fields_by_name["format"].enum_type  # type: ignore[attr-defined]
    value = kind.values_by_number[rules.format]  # type: ignore[attr-defined]
    return str(value.name.removeprefix("FORMAT_").lower())


def _summary(rpc: Rpc) -> str:
    service = rpc.method.containing_service
    said = comment(service.file, f"{service.full_name}.{rpc.method.name}")
    return said or rpc.rules.permission
