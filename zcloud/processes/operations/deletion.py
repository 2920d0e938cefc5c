"""Deletes a resource with everything below it: children first, each by its own job, then what its own kind needs.

Permissive stops at the first thing that objects; Enforcing passes over it and says so in the job.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from zcloud.kernel.aggregate import kinds
from zcloud.kernel.job import Job
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, SubJob, Workflow

# By kind: the steps that hosts must do before the resource is gone.
STEPS: dict[str, tuple[Step, ...]] = {}
# By kind: what else changes in the append that removes the resource.
Cleanup = Callable[[Unit, Resource], Awaitable[None]]
CLEANUP: dict[str, list[Cleanup]] = {}
# By (child's kind, parent's kind): the workflow that answers to the parent's deletion, where it is not deletion.
# The root of the deletion is known to the function; None means that the child lives on untouched.
Reaction = Callable[[Unit, Resource, str], Awaitable[SubJob | None]]
REACTIONS: dict[tuple[str, str], Reaction] = {}


def on_delete(kind: str) -> Callable[[Cleanup], Cleanup]:
    """The decorated coroutine changes what refers to a resource of the kind, when that is removed."""

    def decorate(function: Cleanup) -> Cleanup:
        CLEANUP.setdefault(kind, []).append(function)
        return function

    return decorate


def children_kinds(of: type[Resource]) -> list[tuple[type[Resource], str]]:
    """Kinds that are deleted with one, and the attribute by which they know it; deterministic order."""
    found = []
    for _, cls in sorted(kinds().items()):
        if issubclass(cls, Resource):
            found += [(cls, attribute) for kind, attribute in cls.parents.items() if kind in of.kinds]
    return found


async def next_child(unit: Unit, job: Job) -> SubJob | None:
    """The first child that is still there; its own deletion takes its children."""
    resource = await unit.get(Resource, job.resource_uuid)
    root = job.args.get("root") or resource.kind
    for cls, attribute in children_kinds(type(resource)):
        for uuid in await unit.port("views").where(cls.kind, **{attribute: resource.uuid}):
            child = await unit.find(cls, uuid)
            if child is None:
                continue
            made = await react(unit, child, resource, root, job.args.get("mode", "Permissive"))
            if made is not None:
                return made
    return None


async def react(unit: Unit, child: Resource, parent: Resource, root: str, mode: str) -> SubJob | None:
    """What becomes of a child: its kind's reaction to this parent, else its deletion."""
    for child_kind in child.kinds:
        for parent_kind in parent.kinds:
            reaction = REACTIONS.get((child_kind, parent_kind))
            if reaction is not None:
                return await reaction(unit, child, root)
    return SubJob(child.delete_workflow or "delete_resource", child, {"mode": mode, "root": root, "kind": child.kind})


class DeleteResource(Workflow, name="delete_resource", version=1, title="delete"):
    """For every kind that has children, or that hosts know of."""

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        children = Step("children", next_child, timeout=6 * 3600, repeat=True, tolerant=True)
        return (children, *STEPS.get(args.get("kind", ""), ()))

    async def begin(self, unit: Unit, job: Job) -> None:
        resource = await unit.get(Resource, job.resource_uuid)
        resource.begin_deletion(job.uuid)

    async def succeed(self, unit: Unit, job: Job) -> None:
        resource = await unit.get(Resource, job.resource_uuid)
        for kind in resource.kinds:
            for cleanup in CLEANUP.get(kind, ()):
                await cleanup(unit, resource)
        resource.remove()

    async def fail(self, unit: Unit, job: Job) -> None:
        resource = await unit.find(Resource, job.resource_uuid)
        if resource is not None:
            resource.abort_deletion(job.error)
