"""How many calls are answered at a time, and whose: past the limit, who asks for more than a fair share waits."""

from __future__ import annotations

from zcloud.kernel.errors import Code, Reason, Refused

# Calls that are being answered at a time; more would only make all of them late.
AT_ONCE = 10_000
# Those that wait for something to happen cost memory only.
WAITING_AT_ONCE = 50_000


class Admission:
    """One lane. Up to the limit anybody may have all of it; past it, each principal a fair share, up to twice that."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self.at_once = at_once
        self.total = 0
        self._held: dict[str, int] = {}

    def enter(self, principal: str) -> None:
        """Take a place; raises RESOURCE_EXHAUSTED, which says when to come again."""
        held = self._held.get(principal, 0)
        if self.total >= self.at_once:
            share = self.at_once // (len(self._held) + (not held))
            if held >= share or self.total >= 2 * self.at_once:
                text = (
                    f"the server is answering {self.total} calls, {held} of them yours, and no more than {share} of"
                    " yours while it is full; try again in a moment"
                )
                raise Refused(Code.RESOURCE_EXHAUSTED, Reason.TOO_MANY_REQUESTS, text, limit=self.at_once, share=share)
        self._held[principal] = held + 1
        self.total += 1

    def leave(self, principal: str) -> None:
        """Give the place back."""
        self.total -= 1
        held = self._held[principal] - 1
        if held:
            self._held[principal] = held
        else:
            del self._held[principal]
