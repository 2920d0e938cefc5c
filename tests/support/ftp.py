"""A real FTP server on loopback: anonymous, and one user with a password."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import DTPHandler, FTPHandler
from pyftpdlib.servers import FTPServer

USER, PASSWORD = "reader", "p@ss:word/1"


@dataclass
class Ftp:
    """files are under root for everybody; retrieved: name and offset of each transfer."""

    root: Path
    port: int = 0
    retrieved: list[tuple[str, int]] = field(default_factory=list)
    # Bytes after which the next transfer is cut; 0: none is.
    cut_after: int = 0


@contextlib.contextmanager
def running_ftp(root: Path) -> Iterator[Ftp]:
    made = Ftp(root)
    root.mkdir(exist_ok=True)
    authorizer = DummyAuthorizer()
    authorizer.add_anonymous(str(root))
    authorizer.add_user(USER, PASSWORD, str(root))

    class Transfer(DTPHandler):
        def send(self, data: bytes) -> int:
            if made.cut_after and self.tot_bytes_sent >= made.cut_after:
                made.cut_after = 0
                self.close()
                return 0
            return int(super().send(data))

    class Handler(FTPHandler):
        dtp_handler = Transfer
        use_sendfile = False  # which would not ask for each piece

        def ftp_RETR(self, file: str) -> object:
            made.retrieved.append((Path(file).name, self._restart_position))
            return super().ftp_RETR(file)

        def log(self, *_args: object, **_keywords: object) -> None:
            pass

        logline = log

    Handler.authorizer = authorizer
    server = FTPServer(("127.0.0.1", 0), Handler)
    made.port = server.socket.getsockname()[1]
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            server.serve_forever(timeout=0.02, blocking=False)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield made
    finally:
        stop.set()
        thread.join()
        server.close_all()
