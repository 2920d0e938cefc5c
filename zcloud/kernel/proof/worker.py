"""Brings a node's proof to the end of its log, in a process of its own: when there is much to hash."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from zcloud.kernel.clock import SystemClock
from zcloud.kernel.proof.checkpoint import BadKey
from zcloud.kernel.proof.notary import Broken, follow

BAD_KEY = 3


def main(argv: list[str] | None = None) -> int:
    """0 when it is done; with the reason on standard error 1 when the log is not the one that was signed, and 3 when
    there is no key to sign with.
    """
    parser = argparse.ArgumentParser(prog="zcloud.kernel.proof.worker")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", default="")
    parser.add_argument("--name", required=True)
    parser.add_argument("--node", default="")
    options = parser.parse_args(argv)
    try:
        follow(options.data, options.store, options.name, SystemClock().now(), node=options.node)
    except Broken as error:
        print(error, file=sys.stderr)
        return 1
    except BadKey as error:
        print(error, file=sys.stderr)
        return BAD_KEY
    return 0


if __name__ == "__main__":
    sys.exit(main())
