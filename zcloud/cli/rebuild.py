"""`zcloud rebuild`: drop the read models and fill them anew from the log."""

from __future__ import annotations

from zcloud.cli import store
from zcloud.cli.errors import OK, CliError
from zcloud.kernel.errors import Refused


def main(argv: list[str]) -> int:
    """What is there stays until the new ones are whole."""
    made = store.parser("rebuild", "Fill the read models anew; on SQLite stop the server first.")
    options = made.parse_args(argv)
    from projections.offline import load_kinds
    from projections.rebuild import rebuild

    load_kinds()
    log, progress = store.opened(options), store.Progress("folded")
    try:
        position = rebuild(log, options.data, options.store, progress)
    except Refused as error:
        raise CliError(f"rebuild: {error}") from None
    finally:
        progress.done()
        log.close()
    print(f"the read models are filled anew from {position} events")
    return OK
