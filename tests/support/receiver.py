"""What a webhook calls: an HTTP server of ours on a loopback port, which takes, refuses, is slow, or is down."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.ports import free_port


@dataclass
class Received:
    """One call. body as it was sent."""

    headers: dict[str, str]
    body: bytes

    @property
    def events(self) -> list[dict[str, Any]]:
        return list(json.loads(self.body)["events"])

    def signed_with(self, secret: str) -> bool:
        """As docs/webhooks.md tells receivers to check."""
        signed = self.headers["Zcloud-Timestamp"].encode() + b"." + self.body
        right = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
        return self.headers["Zcloud-Signature"] == f"v1={right}"


@dataclass
class Receiver:
    """status: answered to each call; refused: types of events that it never takes; delay: seconds before an answer;
    enough: when it has taken so many events, whoever calls is given no answer until that is 0."""

    status: int = 200
    refused: set[str] = field(default_factory=set)
    delay: float = 0.0
    enough: int = 0
    calls: list[Received] = field(default_factory=list)
    taken: list[Received] = field(default_factory=list)
    port: int = 0
    _server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?from=zcloud"

    def events(self) -> list[dict[str, Any]]:
        """All that was taken, in the order in which it came."""
        return [event for call in list(self.taken) for event in call.events]

    def start(self) -> Receiver:
        """Listen; again on the same port after stop()."""
        mine = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                call = Received(dict(self.headers), body)
                mine.calls.append(call)
                time.sleep(mine.delay)
                while mine.enough and len(mine.events()) >= mine.enough:
                    time.sleep(0.01)
                poison = any(event["type"] in mine.refused for event in call.events)
                status = 422 if poison else mine.status
                if status == 200:
                    mine.taken.append(call)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b"no, thank you" if status != 200 else b"")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port or free_port()), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
