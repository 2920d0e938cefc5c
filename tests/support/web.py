"""A web server on loopback whose answers a test writes out, one function per path."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]


class Web:
    """Paths and their answers; counts the requests."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[str] = []
        self.port = 0
        self.scheme = "http"

    def url(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    def serve(self, path: str, content: bytes, length: int | None = None) -> str:
        """Answer with this content, saying that it has `length` bytes; returns the URL."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(200)
            request.send_header("Content-Length", str(len(content) if length is None else length))
            request.end_headers()
            request.wfile.write(content)

        self.answers[path] = answer
        return self.url(path)

    def redirect(self, path: str, location: str) -> str:
        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(302)
            request.send_header("Location", location)
            request.end_headers()

        self.answers[path] = answer
        return self.url(path)


@contextlib.contextmanager
def running_web(tls: ssl.SSLContext | None = None) -> Iterator[Web]:
    web = Web()

    class Request(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.requests.append(self.path)
            answer = web.answers.get(self.path.partition("?")[0])
            if answer is None:
                self.send_error(404)
                return
            with contextlib.suppress(ConnectionError):
                answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Request)
    server.daemon_threads = True
    # A client that breaks off the handshake is what some tests are about.
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if tls is not None:
        web.scheme = "https"
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    web.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
