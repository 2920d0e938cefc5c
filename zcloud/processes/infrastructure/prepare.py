"""What a connected host must have before it gets work: filled by the areas whose resources are attached to clusters."""

from __future__ import annotations

from zcloud.kernel.workflow import Step

PREPARE: tuple[Step, ...] = ()
