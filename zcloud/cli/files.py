"""Files that the command line keeps for the user: in the XDG cache, readable by nobody else."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def cache_directory() -> Path:
    """Where the session and the index of RPCs are kept."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says that a relative path is to be ignored.
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "zcloud"


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 in one step, so that a reader never sees half of it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
