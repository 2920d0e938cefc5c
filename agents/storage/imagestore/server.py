"""The store's own HTTPS server: images and ranges of them, chunks for other stores, exports for anybody who has a name.

It only reads. What is asked for needs the store's token, but for exports, whose names nobody guesses.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import re
import socket
import ssl
import struct
import sys
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from agents.storage.helper import HelperError
from agents.storage.imagestore.store import DIGEST, Store

RANGE = re.compile(r"bytes=(\d*)-(\d*)")
MOST_CHUNKS = 4096
IDLE_SECONDS = 120


def private(url: str, name: str) -> str:
    """A file that only the store's owner reads."""
    return os.path.join(url, ".zcloud", name)


def wanted(header: str, size: int) -> tuple[int, int] | None:
    """From and before which byte; None where the range lies outside. No range, or one of several parts: all."""
    found = RANGE.fullmatch(header.strip())
    if not header or found is None or found.groups() == ("", ""):
        return 0, size
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    end = min(size, int(last) + 1) if last else size
    return (int(first), end) if int(first) < end else None


class Handler(BaseHTTPRequestHandler):
    """One request after the other on a connection."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    server: Server

    def setup(self) -> None:
        self.request.settimeout(IDLE_SECONDS)
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()  # here and not on accept, where one that says nothing would stop all others
        super().setup()

    def do_GET(self) -> None:
        self._answer(self._get)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, act: Any) -> None:
        try:
            act()
        except HelperError as error:
            self._say({"NOT_FOUND": 404, "REFUSED": 401, "INVALID": 400}.get(error.reason, 500), str(error))
        except (BrokenPipeError, ConnectionError, TimeoutError, ssl.SSLError):
            self.close_connection = True
        except Exception as error:
            self._say(500, f"{type(error).__name__}: {error}")

    def _get(self) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts == ["health"]:
            self._json({"url": self.server.url, "program": self.server.program})
        elif parts[0] == "exports" and len(parts) == 3:
            self._image(self.server.store.exported(parts[1]))
        else:
            self._must_know_the_token()
            self._get_of_store(parts)

    def _get_of_store(self, parts: list[str]) -> None:
        store = self.server.store
        if parts == ["images"]:
            self._json({"images": store.images()})
        elif parts[0] == "images" and len(parts) == 2:
            self._image(parts[1])
        elif parts[0] == "images" and len(parts) == 3 and parts[2] == "chunks":
            told, digests = store.image(parts[1])
            head = json.dumps(told).encode()
            self._stream([struct.pack(">I", len(head)), head, digests], 4 + len(head) + len(digests))
        else:
            raise HelperError("NOT_FOUND", f"there is no {self.path}")

    def _post(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > MOST_CHUNKS * DIGEST or length % DIGEST or self.path != "/chunks":
            self.close_connection = True
            raise HelperError("INVALID", f"POST /chunks takes digests, at most {MOST_CHUNKS}")
        body = self.rfile.read(length)
        self._must_know_the_token()
        digests = [body[at : at + DIGEST] for at in range(0, len(body), DIGEST)]
        self._stream(self._packed(digests), None)

    def _packed(self, digests: list[bytes]) -> Iterable[bytes]:
        for _, data, packed in self.server.store.chunks(digests):
            yield struct.pack(">IB", len(data), packed) + data

    def _must_know_the_token(self) -> None:
        """Read anew each time, so that one that was changed counts at once."""
        with open(private(self.server.url, "token"), encoding="ascii") as file:
            token = file.read().strip()
        given = self.headers.get("Authorization", "")
        if not token or not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise HelperError("REFUSED", "this needs the store's token")

    def _image(self, uuid: str) -> None:
        told, _ = self.server.store.image(uuid)
        size, tag = told["size"], f'"{told["sha256"]}"'
        header = self.headers.get("Range", "")
        if self.headers.get("If-Range", tag) != tag:
            header = ""
        found = wanted(header, size)
        if found is None:
            self._say(416, "there are no such bytes", {"Content-Range": f"bytes */{size}"})
            return
        start, end = found
        more = {"ETag": tag, "Accept-Ranges": "bytes"}
        if (start, end) != (0, size):
            more["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        self._stream(
            self.server.store.read(uuid, start, end), end - start, 206 if "Content-Range" in more else 200, more
        )

    def _stream(
        self, pieces: Iterable[bytes], length: int | None, code: int = 200, more: dict[str, str] | None = None
    ) -> None:
        """length: None when it is not known; then the end of the connection is the end."""
        self.send_response(code)
        self.send_header("Content-Type", "application/octet-stream")
        for name, value in (more or {}).items():
            self.send_header(name, value)
        if length is None:
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            for piece in pieces:
                self.wfile.write(piece)
        except HelperError as error:
            # It is too late for a status: what ends too early is not believed by who counts or checks.
            self.close_connection = True
            self.log_message("%s", error)

    def _json(self, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self._stream([data], len(data))

    def _say(self, code: int, text: str, more: dict[str, str] | None = None) -> None:
        data = (text + "\n").encode()
        with contextlib.suppress(OSError):
            self._stream([data], len(data), code, more)

    def log_message(self, format: str, *args: Any) -> None:
        """Only what went wrong; nobody's tokens."""
        if format != '"%s" %s %s':
            sys.stderr.write(format % args + "\n")


class Server(ThreadingHTTPServer):
    """A thread for each connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, url: str, port: int, program: str = "") -> None:
        self.url, self.program, self.store = url, program, Store(url)
        self.address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        super().__init__(("::" if self.address_family == socket.AF_INET6 else "", port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(private(url, "tls.pem"))
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.allow_reuse_address = True
        super().server_bind()


def serve(url: str, port: int, program: str) -> int:
    """Until a signal ends it, in the middle of whatever it does: it only reads."""
    Server(url, port, program).serve_forever()
    return 0
