"""Deletes a resource with everything below it: children first, each by its own job, then what its own kind needs.

Permissive stops at the first thing that objects; Enforcing passes over it and says so in the job.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from zcloud.kernel.aggregate import by_kind, kinds
from zcloud.kernel.job import Job
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.kernel.workflow import Step, SubJob, Workflow

# By kind: the steps that hosts must do before the resource is gone.
STEPS: dict[str, tuple[Step, ...]] = {}
# By kind: what may refuse the deletion before anything has begun; it looks at the job's mode.
Guard = Callable[[Unit, Resource, Job], Awaitable[None]]
GUARDS: dict[str, list[Guard]] = {}
# By kind: what else changes in the append that removes the resource.
Cleanup = Callable[[Unit, Resource], Awaitable[None]]
CLEANUP: dict[str, list[Cleanup]] = {}
# By (child's kind, parent's kind): the workflow that answers to the parent's deletion, where it is not deletion.
# It is given child and parent, and of the deletion the kind at its root and its mode ("root", "mode"). None: the child
# lives on, and what refers to the parent is changed by the parent's CLEANUP.
Reaction = Callable[[Unit, Resource, Resource, dict[str, str]], Awaitable[SubJob | None]]
REACTIONS: dict[tuple[str, str], Reaction] = {}


def guard(kind: str) -> Callable[[Guard], Guard]:
    """The decorated coroutine refuses the deletion of a resource of the kind while something speaks against it."""

    def decorate(function: Guard) -> Guard:
        GUARDS.setdefault(kind, []).append(function)
        return function

    return decorate


def on_delete(kind: str) -> Callable[[Cleanup], Cleanup]:
    """The decorated coroutine changes what refers to a resource of the kind, when that is removed."""

    def decorate(function: Cleanup) -> Cleanup:
        CLEANUP.setdefault(kind, []).append(function)
        return function

    return decorate


def children_kinds(of: type[Resource]) -> list[tuple[type[Resource], str]]:
    """Kinds that are deleted with one, and the attribute by which they know it: what rests on others comes first."""
    found = []
    for _, cls in sorted(kinds().items()):
        if issubclass(cls, Resource):
            found += [(cls, attribute) for kind, attribute in cls.parents.items() if kind in of.kinds]
            if "account" in of.kinds and cls.goes_with_owner:
                found.append((cls, "account_uuid"))
    return sorted(found, key=lambda child: -depth(child[0]))


def depth(cls: type[Resource]) -> int:
    """How many generations of parents a kind has."""
    parents = [by_kind(kind) for kind in cls.parents]
    return max((1 + depth(parent) for parent in parents if issubclass(parent, Resource)), default=0)


async def next_child(unit: Unit, job: Job) -> SubJob | None:
    """The first child that is still there; its own deletion takes its children."""
    resource = await unit.get(Resource, job.resource_uuid)
    root = job.args.get("root") or resource.kind
    for cls, attribute in children_kinds(type(resource)):
        for uuid in await unit.port("views").referring(cls.kind, attribute, resource.uuid):
            child = await unit.find(cls, uuid)
            if child is None or uuid in job.passed_over:
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
                return await reaction(unit, child, parent, {"root": root, "mode": mode})
    return SubJob(child.delete_workflow or "delete_resource", child, {"mode": mode, "root": root, "kind": child.kind})


class DeleteResource(Workflow, name="delete_resource", version=1, title="delete"):
    """For every kind that has children, or that hosts know of."""

    removes = True

    def steps(self, args: dict[str, Any]) -> tuple[Step, ...]:
        children = Step("children", next_child, timeout=6 * 3600, repeat=True, tolerant=True)
        return (children, *STEPS.get(args.get("kind", ""), ()))

    async def begin(self, unit: Unit, job: Job) -> None:
        resource = await unit.get(Resource, job.resource_uuid)
        for kind in resource.kinds:
            for check in GUARDS.get(kind, ()):
                await check(unit, resource, job)
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
