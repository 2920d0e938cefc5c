"""`zcloud replay --until WHEN --to FILE`: read models of a moment in a fresh SQLite file, for an investigator."""

from __future__ import annotations

from pathlib import Path

from zcloud.cli import store
from zcloud.cli.errors import OK, CliError


def main(argv: list[str]) -> int:
    """Build them; the log is only read."""
    made = store.parser("replay", "Build the read models of a moment into a fresh SQLite file.")
    made.add_argument("--until", required=True, metavar="WHEN", help="a time, 2h for ago, or a position")
    made.add_argument("--to", type=Path, required=True, metavar="FILE", help="must not exist yet")
    options = made.parse_args(argv)
    from projections.offline import fold_until, load_kinds

    load_kinds()
    log, progress = store.opened(options), store.Progress("replayed")
    try:
        position = fold_until(log, options.to, store.position_of(log, "--until", options.until), progress)
    except OSError as error:
        raise CliError(f"replay: {error}") from None
    finally:
        progress.done()
        log.close()
    print(f"{options.to} holds every resource as of event {position}; try: sqlite3 {options.to} .tables")
    return OK
