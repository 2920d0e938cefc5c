"""Refusals as gRPC statuses with google.rpc details."""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from zcloud.api.caller import Caller
from zcloud.kernel.errors import Code, Reason, Refused

DOMAIN = "zcloud"
_GRPC = {code.value[0]: code for code in grpc.StatusCode}
RETRY_SECONDS = 1


def status_of(refused: Refused) -> status_pb2.Status:
    """ErrorInfo always; BadRequest, PreconditionFailure, ResourceInfo, QuotaFailure and RetryInfo where they fit."""
    details = [
        error_details_pb2.ErrorInfo(reason=refused.reason.value, domain=DOMAIN, metadata=_short(refused.facts)),
    ]
    if refused.fields:
        bad = error_details_pb2.BadRequest()
        for name, text in refused.fields[:20]:
            bad.field_violations.add(field=name, description=text[:500])
        details.append(bad)
    if refused.code is Code.FAILED_PRECONDITION:
        failure = error_details_pb2.PreconditionFailure()
        failure.violations.add(type=refused.reason.value, subject=_subject(refused), description=refused.message[:1000])
        details.append(failure)
    if refused.resource is not None:
        kind, name = refused.resource
        details.append(error_details_pb2.ResourceInfo(resource_type=kind, resource_name=name))
    if refused.code is Code.RESOURCE_EXHAUSTED and refused.reason is not Reason.TOO_MANY_REQUESTS:
        quota = error_details_pb2.QuotaFailure()
        limit = (
            {"quota_metric": refused.facts["quota"], "quota_id": refused.facts["quota"]} if _by_quota(refused) else {}
        )
        value = {"quota_value": int(refused.facts["limit"])} if _by_quota(refused) else {}
        quota.violations.add(subject=_subject(refused), description=refused.message[:1000], **limit, **value)
        details.append(quota)
    if _passes(refused):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.seconds = RETRY_SECONDS
        details.append(retry)
    status = status_pb2.Status(code=refused.code.value, message=refused.message[:2000])
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _passes(refused: Refused) -> bool:
    """The same call may succeed in a moment; one that insists on a version that has moved on never will."""
    if refused.code is Code.ABORTED:
        return "version" not in refused.facts
    return refused.code is Code.UNAVAILABLE or refused.reason is Reason.TOO_MANY_REQUESTS


def _by_quota(refused: Refused) -> bool:
    return refused.reason is Reason.QUOTA_EXCEEDED


def _short(facts: dict[str, str]) -> dict[str, str]:
    return {name: value[:300] for name, value in list(facts.items())[:20]}


def _subject(refused: Refused) -> str:
    return f"{refused.resource[0]}/{refused.resource[1]}" if refused.resource else refused.facts.get("subject", "")


async def abort(context: Caller, refused: Refused) -> None:
    """End the call with the refusal; trailers hold it whole (8 KiB)."""
    status = status_of(refused)
    trailers = (("grpc-status-details-bin", status.SerializeToString()),)
    context.set_trailing_metadata(trailers)
    await context.abort(_GRPC[refused.code.value], refused.message[:2000], trailers)


def internal() -> tuple[grpc.StatusCode, str]:
    """What a caller is told of our own mistakes; the node's log has the rest."""
    return grpc.StatusCode.INTERNAL, f"the server failed; see its log ({code_pb2.Code.Name(code_pb2.INTERNAL)})"
