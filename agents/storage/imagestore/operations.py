"""What is asked of a store by SSH: make it, take images in, give them away, clean up, and let its server run."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import time
from typing import Any

from agents.storage import sftp_helper
from agents.storage.helper import HelperError
from agents.storage.imagestore.client import chunk_list, described, fetch
from agents.storage.imagestore.server import private
from agents.storage.imagestore.store import Store

START_SECONDS = 20.0
# What a transfer left that nobody goes on with.
STALE_SECONDS = 72 * 3600


def connect(request: dict[str, Any]) -> dict[str, Any]:
    """Make it where it is not there, see that its server runs, and say what it holds."""
    url = request["url"]
    os.makedirs(os.path.join(url, ".zcloud"), mode=0o700, exist_ok=True)
    Store(url).make()
    _write(private(url, "token"), request["token"])
    if not os.path.exists(private(url, "tls.pem")):
        _write(private(url, "tls.pem"), request["tls"])
    _see_that_it_serves(url, int(request["port"]))
    with open(private(url, "tls.pem"), encoding="ascii") as file:
        certificate = "-----BEGIN CERTIFICATE-----" + file.read().partition("-----BEGIN CERTIFICATE-----")[2]
    images = [described(image) for image in Store(url).images()]
    return {**sftp_helper.capacity(request), "certificate": certificate, "images": images}


def _write(path: str, text: str) -> None:
    with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii") as there:
        if there.read() == text:
            return
    part = f"{path}.{secrets.token_hex(8)}"
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(part, path)


# -- images


def download(request: dict[str, Any]) -> dict[str, Any] | None:
    """Like an SFTP storage, which checks what the file is; then it is taken in, and the file goes."""
    url, uuid = request["url"], request["image_uuid"]
    store = Store(url)
    with contextlib.suppress(HelperError):
        told, _ = store.image(uuid)
        if told["sha256"] == (request.get("sha256", "").lower() or told["sha256"]):
            return _result(request, told, 0)
    if request.get("probe"):
        return None
    if request.get("source_store"):
        return _synchronise(store, request)
    result = sftp_helper.download(request)
    assert result is not None
    info = {**json.loads(request.get("metadata") or "{}"), "format": request["format"], "virtual_size": result["size"]}
    with open(result["install_path"], "rb") as file:
        stored = store.put(uuid, file, info)
    sftp_helper.delete({"url": url, "install_path": result["install_path"]})
    told, _ = store.image(uuid)
    if told["sha256"] != result["sha256"]:
        store.delete(uuid)
        raise HelperError("FAILED", f"image {uuid} was read with SHA-256 {told['sha256']}, not {result['sha256']}")
    return _result(request, told, stored)


def _synchronise(store: Store, request: dict[str, Any]) -> dict[str, Any]:
    access = request["source_store"]
    told, digests = chunk_list(access, request["image_uuid"])
    if request.get("sha256", "").lower() not in ("", told["sha256"]):
        raise HelperError("INVALID", f"the other store has image {told['uuid']} with SHA-256 {told['sha256']}")
    stored = store.take_over(request["image_uuid"], told, digests, lambda missing: fetch(access, missing))
    return _result(request, told, stored)


def _result(request: dict[str, Any], told: dict[str, Any], stored: int) -> dict[str, Any]:
    path = f"{request['url']}/images/{request['image_uuid']}/{request['image_uuid']}.{request['format']}"
    return {
        "install_path": path,
        "size": told["info"]["virtual_size"],
        "actual_size": told["size"],
        "sha256": told["sha256"],
        "stored_size": stored,
        "has_stored_size": True,
        **sftp_helper.measure(request["url"]),
    }


def delete(request: dict[str, Any]) -> dict[str, Any] | None:
    """The image, and what a transfer of it left."""
    uuid = os.path.basename(os.path.dirname(request["install_path"]))
    store = Store(request["url"])
    if request.get("probe"):
        there = any(image["uuid"] == uuid for image in store.images())
        return None if there else sftp_helper.delete(request)
    store.delete(uuid)
    return sftp_helper.delete(request)


def digest(request: dict[str, Any]) -> dict[str, Any]:
    """Of the whole image, as whoever fetches it gets it."""
    store, uuid = Store(request["url"]), os.path.basename(os.path.dirname(request["install_path"]))
    told, _ = store.image(uuid)
    return {"actual_size": told["size"], "digest": sftp_helper.digest_of(store.read(uuid), request)}


def clean(request: dict[str, Any]) -> dict[str, Any]:
    """What nothing refers to, and what transfers left that nobody has gone on with for days."""
    url = request["url"]
    for folder in ("images", "uploads"):
        base = os.path.join(url, folder)
        for name in os.listdir(base) if os.path.isdir(base) else ():
            path = os.path.join(base, name)
            with contextlib.suppress(FileNotFoundError):
                if time.time() - os.stat(path).st_mtime > STALE_SECONDS:
                    shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    return {"reclaimed": Store(url).clean(), **sftp_helper.measure(url)}


def export(request: dict[str, Any]) -> dict[str, Any]:
    return Store(request["url"]).export(request["image_uuid"], request["name"])


def unexport(request: dict[str, Any]) -> dict[str, Any]:
    Store(request["url"]).unexport(request["image_uuid"])
    return {}


# -- the server


def _see_that_it_serves(url: str, port: int) -> None:
    program = os.path.abspath(sys.argv[0])
    if _health(port) == {"url": url, "program": program}:
        return
    stop({"url": url})
    log = private(url, "server.log")
    with open(log, "ab") as output:
        # A session of its own: it outlives the SSH connection. When it dies, the next ping starts it again.
        process = subprocess.Popen(
            [sys.executable, "-I", "-B", program, "serve", url, str(port)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while _health(port) != {"url": url, "program": program}:
        if time.monotonic() > deadline or process.poll() is not None:
            with open(log, encoding="utf-8", errors="replace") as file:
                last = " | ".join(file.read()[-2000:].strip().splitlines()[-3:])
            raise HelperError("FAILED", f"the image store's server does not answer on port {port}: {last}")
        time.sleep(0.05)


def _health(port: int) -> Any:
    """What answers on the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
    try:
        connection.request("GET", "/health")
        return json.loads(connection.getresponse().read(4096))
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _servers(url: str) -> list[int]:
    """Processes that serve this very store; a pid file alone proves nothing."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
                if b"serve" in words and words[words.index(b"serve") + 1] == os.fsencode(url):
                    found.append(int(name))
    return found


def stop(request: dict[str, Any]) -> dict[str, Any]:
    """Its images stay."""
    deadline = time.monotonic() + 10
    while pids := _servers(request["url"]):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if time.monotonic() > deadline - 5 else signal.SIGTERM)
        if time.monotonic() > deadline:
            raise HelperError("FAILED", f"the server of {request['url']} does not end")
        time.sleep(0.05)
    return {}


OPERATIONS = {
    "connect": connect,
    "download": download,
    "delete": delete,
    "digest": digest,
    "clean": clean,
    "export": export,
    "unexport": unexport,
    "stop": stop,
}
