"""What is due: an index of the next moment of each scheduler. Looking costs by what is due, not by what there is."""

from __future__ import annotations

import heapq


class Due:
    """Keys by the moment at which they are due; a newer moment for a key takes the older one's place."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []
        self._when: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._when)

    def __contains__(self, key: str) -> bool:
        return key in self._when

    def put(self, key: str, when: int) -> None:
        """0 for never."""
        if not when:
            self._when.pop(key, None)
        elif self._when.get(key) != when:
            self._when[key] = when
            heapq.heappush(self._heap, (when, key))

    def take(self, now: int, most: int) -> list[str]:
        """Keys that are due, the oldest first; they are due no more."""
        found = []
        while self._heap and self._heap[0][0] <= now and len(found) < most:
            when, key = heapq.heappop(self._heap)
            if self._when.get(key) == when:
                del self._when[key]
                found.append(key)
        return found

    def next(self) -> int:
        """When something is due; 0 for never."""
        while self._heap and self._when.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else 0
