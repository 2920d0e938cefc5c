"""`zcloud rebuild`: drop the read models and fill them anew from the log."""

from __future__ import annotations

from zcloud.cli import store
from zcloud.cli.errors import OK, CliError
from zcloud.kernel.errors import Refused


def main(argv: list[str]) -> int:
    """Better while no server runs: until it is done, queries would be answered from what is there already."""
    made = store.parser("rebuild", "Drop the read models and fill them anew; stop the server first.")
    options = made.parse_args(argv)
    from projections.engine import open_engine
    from projections.offline import load_kinds, rebuild

    load_kinds()
    log, progress = store.opened(options), store.Progress("folded")
    engine = open_engine(options.data, options.store)
    try:
        position = rebuild(log, engine, progress)
    except Refused as error:
        raise CliError(f"rebuild: {error}") from None
    finally:
        progress.done()
        engine.dispose()
        log.close()
    print(f"the read models are filled anew from {position} events")
    return OK
