"""The command `zcloud`: a management node, agents, and every RPC of the API by its name."""

import importlib
import os
import sys

from zcloud.cli.errors import INTERRUPTED, OK, CliError, UsageError

_LOCAL = ("why", "diff", "audit", "replay", "check", "rebuild")
_AGENTS = {"kvm": "agents.kvm.main", "simulator": "zcloud.cli.simulator"}


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    words = sys.argv[1:] if argv is None else argv
    # The library's own log lines say less than our errors.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        return _dispatch(words)
    except CliError as error:
        print(f"zcloud: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough (`| head`); without this Python complains again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _dispatch(words: list[str]) -> int:
    """Imports are late: a command pays only for what it needs."""
    name, rest = (words[0], words[1:]) if words else ("help", [])
    if name == "serve":
        return _run("zcloud.cli.serve", rest)
    if name in _LOCAL:
        return _run(f"zcloud.cli.{name}", rest)
    if name == "agent":
        return _agent(rest)
    if name in ("completion", "__complete"):
        from zcloud.cli import completion

        return completion.script(rest) if name == "completion" else completion.complete(rest)
    if name in ("help", "-h", "--help", "list"):
        return _explain(name, rest)
    if name in ("--version", "-V"):
        from importlib.metadata import version

        print(f"zcloud {version('zcloud')}")
        return OK
    from zcloud.cli import call

    return call.run(name, rest)


def _explain(name: str, rest: list[str]) -> int:
    from zcloud.cli import catalog, explain

    if name == "list":
        return explain.list_all(rest)
    if not rest:
        print(explain.usage(), end="")
        return OK
    if rest[0] in catalog.COMMANDS:
        return _dispatch([rest[0], "--help"]) if rest[0] in ("serve", "agent", *_LOCAL) else _explain("help", [])
    return explain.explain(rest[0])


def _agent(words: list[str]) -> int:
    kind = words[0] if words else ""
    if kind in ("-h", "--help"):
        print("zcloud agent kvm …, or zcloud agent simulator …; each explains itself with --help")
        return OK
    if kind not in _AGENTS:
        raise UsageError(f"zcloud agent {' or '.join(_AGENTS)}, not {kind!r}")
    return _run(_AGENTS[kind], words[1:])


def _run(module: str, argv: list[str]) -> int:
    status = importlib.import_module(module).main(argv)
    return OK if status is None else int(status)


if __name__ == "__main__":
    sys.exit(main())
