"""`zcloud check`: are the read models what a fresh fold of the log gives? Names each row that is not."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

from zcloud.cli import store
from zcloud.cli.errors import FAILED, OK, CliError
from zcloud.kernel.errors import Refused


def main(argv: list[str]) -> int:
    """0 when they are, 1 when they are not; a server may run meanwhile."""
    made = store.parser("check", "Compare the read models with a fresh fold of the log.")
    made.add_argument("--show", type=int, default=20, help="differences that are printed (default: 20)")
    options = made.parse_args(argv)
    from projections.engine import open_engine
    from projections.offline import NotThere, compare, load_kinds

    load_kinds()
    log, progress = store.opened(options), store.Progress("folded")
    engine = open_engine(options.data, options.store)
    try:
        with tempfile.TemporaryDirectory(prefix="zcloud-check-") as directory:
            position, found = compare(log, engine, Path(directory) / "fresh.db", progress)
            progress.done()
            shown = list(itertools.islice(found, options.show))
            more = sum(1 for _ in found)
    except (NotThere, Refused) as error:
        raise CliError(f"check: {error}") from None
    finally:
        engine.dispose()
        log.close()
    for difference in shown:
        what = "is missing" if difference.live is None else "should not be there" if difference.fresh is None else ""
        what = what or f"differs in {', '.join(difference.columns)}"
        print(f"{difference.table} {' '.join(map(str, difference.key))}: {what}")
    if shown:
        print(f"{len(shown) + more} rows differ as of event {position}; `zcloud rebuild` fills the read models anew")
        return FAILED
    print(f"the read models are what a fresh fold of {position} events gives")
    return OK
