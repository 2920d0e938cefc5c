"""Completion for bash and zsh: the shell asks us at each Tab, so nothing of it can go stale."""

from collections.abc import Iterable

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from zcloud.cli import arguments, catalog
from zcloud.cli.errors import OK, CliError, UsageError
from zcloud.cli.naming import find_field, short_forms

SHELLS = ("bash", "zsh")

_BASH = r"""_zcloud() {
    local line="${COMP_LINE:0:COMP_POINT}" word="${COMP_WORDS[COMP_CWORD]}" found
    mapfile -t COMPREPLY < <("${COMP_WORDS[0]}" __complete "$line" 2>/dev/null)
    # Bash ends words at = and : where COMP_WORDBREAKS says so, and expects only what follows.
    found="${line##*[[:space:]]}"
    local before="${found%"$word"}"
    [[ $word == "=" ]] && before="$found"
    COMPREPLY=("${COMPREPLY[@]#"$before"}")
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=.] ]] && compopt -o nospace 2>/dev/null
}
complete -F _zcloud zcloud
"""

_ZSH = r"""#compdef zcloud
_zcloud() {
    local -a found
    found=("${(@f)$("${words[1]}" __complete "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    [[ -n ${found[1]} ]] || { _files; return }
    local -a open=("${(@M)found:#*=}") closed=("${(@)found:#*=}")
    (( ${#open} )) && compadd -S '' -- "${open[@]}"
    (( ${#closed} )) && compadd -- "${closed[@]}"
}
if [ "$funcstack[1]" = "_zcloud" ]; then _zcloud "$@"; else compdef _zcloud zcloud; fi
"""


def script(argv: list[str]) -> int:
    """The script for a shell: source <(zcloud completion bash)."""
    if len(argv) != 1 or argv[0] not in SHELLS:
        raise UsageError("zcloud completion bash, or zcloud completion zsh")
    print(_BASH if argv[0] == "bash" else _ZSH, end="")
    return OK


def complete(argv: list[str]) -> int:
    """Answer a shell: a line for each word that the last word of the line may become."""
    words = argv[0].split() if argv else []
    if argv and argv[0][-1:].isspace():
        words.append("")
    try:
        for candidate in candidates(words[1:]):
            print(candidate)
    except CliError:
        return OK  # an unknown RPC: nothing to offer, and no place to complain
    return OK


def candidates(words: list[str]) -> list[str]:
    """What the last of the words may become."""
    if len(words) <= 1:
        return _beginning(words[0] if words else "", [*catalog.COMMANDS, *catalog.names()])
    command, current, previous = words[0], words[-1], words[-2]
    if command in catalog.COMMANDS:
        fixed = {
            "help": catalog.names(),
            "completion": SHELLS,
            "agent": ("kvm", "simulator"),
            "audit": ("verify", "export"),
        }
        return _beginning(current, fixed.get(command, ())) if len(words) == 2 else []
    rpc = catalog.find(command)
    if previous in ("-o", "--output"):
        return _beginning(current, arguments.FORMATS)
    if current.startswith("-"):
        return _beginning(current, _options(command))
    if "=" in current:
        return _values(rpc.method.input_type, current)
    given = {word.split("=")[0] for word in words[1:-1]}
    return _beginning(current, _fields(rpc.method.input_type, current, given))


def _beginning(current: str, words: Iterable[str]) -> list[str]:
    return sorted(word for word in words if word.startswith(current))


def _options(name: str) -> list[str]:
    made = arguments.parser(name)
    return [option for action in made._actions for option in action.option_strings]


def _fields(message: Descriptor, current: str, given: set[str]) -> Iterable[str]:
    camel = any(letter.isupper() for letter in current)
    for field in message.fields:
        if field.name in given and not field.is_repeated:
            continue
        yield (field.camelcase_name if camel else field.name) + "="


def _values(message: Descriptor, current: str) -> list[str]:
    name, _, text = current.partition("=")
    field = find_field(message, name)
    if field is None:
        return []
    before, comma, last = text.rpartition(",") if field.is_repeated else ("", "", text)
    words = short_forms(field) if field.enum_type is not None else _booleans(field)
    # The values are accepted in any case, so they are found in any case.
    matching = [word for word in words if word.lower().startswith(last.lower())]
    return [f"{name}={before}{comma}{word}" for word in matching]


def _booleans(field: FieldDescriptor) -> list[str]:
    return ["true", "false"] if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL else []
