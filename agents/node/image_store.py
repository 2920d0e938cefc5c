"""What the management node does on image stores: make them, let their servers run, clean up, export (BS-23)."""

from __future__ import annotations

import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agents.node.sftp_storage import open_helper
from agents.runtime.task import Handler, Work
from agents.storage.remote_helper import call_helper
from zcloud.v1.backup_storage_task_pb2 import (
    CleanImageStoreResult,
    CleanImageStoreTask,
    ConnectImageStoreResult,
    ConnectImageStoreTask,
    DeleteExportedImageResult,
    DeleteExportedImageTask,
    ExportImageResult,
    ExportImageTask,
    StopImageStoreResult,
    StopImageStoreTask,
    StoredImage,
)

# It is pinned, and goes with the store's directory.
YEARS = 30


def image_store_handlers() -> list[Handler[Any, Any]]:
    """One for each task. None has a probe: each can be done again."""
    return [ConnectImageStore(), CleanImageStore(), ExportImage(), DeleteExportedImage(), StopImageStore()]


def new_certificate() -> str:
    """A key, and a certificate that it signed itself, in PEM: for a store that has none yet."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "zcloud image store")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (private + certificate.public_bytes(serialization.Encoding.PEM)).decode()


async def _call(args: Any, operation: str, work: Work | None, make_directory: bool = False, **request: Any) -> Any:
    async with open_helper(args.target, args.url, make_directory, store=True) as (session, program):
        done = await call_helper(session, program, {"operation": operation, "url": args.url, **request}, work)
        return {**done, "host_key": session.host_key} if operation == "connect" else done


class ConnectImageStore(
    Handler[ConnectImageStoreTask, ConnectImageStoreResult], task=ConnectImageStoreTask, result=ConnectImageStoreResult
):
    async def run(self, args: ConnectImageStoreTask, work: Work) -> ConnectImageStoreResult:
        asked = {"port": args.port or 8000, "token": args.token, "tls": new_certificate()}
        have = await _call(args, "connect", work, make_directory=True, **asked)
        names = StoredImage.DESCRIPTOR.fields_by_name
        images = [StoredImage(**{n: value for n, value in one.items() if n in names}) for one in have.pop("images")]
        return ConnectImageStoreResult(**have, images=images)


class CleanImageStore(
    Handler[CleanImageStoreTask, CleanImageStoreResult], task=CleanImageStoreTask, result=CleanImageStoreResult
):
    async def run(self, args: CleanImageStoreTask, work: Work) -> CleanImageStoreResult:
        return CleanImageStoreResult(**await _call(args, "clean", work))


class ExportImage(Handler[ExportImageTask, ExportImageResult], task=ExportImageTask, result=ExportImageResult):
    async def run(self, args: ExportImageTask, work: Work) -> ExportImageResult:
        done = await _call(args, "export", work, image_uuid=args.image_uuid, name=args.name)
        return ExportImageResult(**done)


class DeleteExportedImage(
    Handler[DeleteExportedImageTask, DeleteExportedImageResult],
    task=DeleteExportedImageTask,
    result=DeleteExportedImageResult,
):
    async def run(self, args: DeleteExportedImageTask, work: Work) -> DeleteExportedImageResult:
        await _call(args, "unexport", work, image_uuid=args.image_uuid)
        return DeleteExportedImageResult()


class StopImageStore(
    Handler[StopImageStoreTask, StopImageStoreResult], task=StopImageStoreTask, result=StopImageStoreResult
):
    async def run(self, args: StopImageStoreTask, work: Work) -> StopImageStoreResult:
        await _call(args, "stop", work)
        return StopImageStoreResult()
