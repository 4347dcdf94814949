"""The instances that are listed, in memory: read once, then kept as they are written.

An agent that comes or is seen writes its instance. To read a fleet anew after each such write takes seconds in a large one; and those that
nobody wrote stay the same objects, so that whoever counted them need not look at them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from controller.fleet.model import Instance, InstanceId

Change = Callable[[Mapping[InstanceId, Instance]], Iterable[Instance]]
"""What a write made: given those that are listed, the instances that it wrote, as they are now."""


class Listed:
    """Use it from one event loop. Writes must be taken in the order in which they were made."""

    def __init__(self) -> None:
        """Begin with nothing read."""
        self._known: dict[InstanceId, Instance] | None = None
        self._missed: list[Change] | None = None
        """While they are being read: the writes that ended since `begin`. What is read may have them or not."""
        self._order = list[Instance]()
        self._places = dict[InstanceId, int]()
        self._is_in_order = False
        self._all: tuple[Instance, ...] | None = None

    @property
    def is_read(self) -> bool:
        """Say whether `all` can be asked."""
        return self._known is not None

    def begin(self) -> None:
        """Call it before they are read; then `end`, unless they could not be read."""
        self._missed = []

    def end(self, found: Iterable[Instance]) -> None:
        """Take what was read."""
        self._known = {instance.id: instance for instance in found}
        self._is_in_order, self._all = False, None
        for change in self._missed or ():
            self._apply(self._known, change)
        self._missed = None

    def take(self, change: Change) -> None:
        """Take a write that has ended."""
        if self._known is not None:
            self._apply(self._known, change)
        elif self._missed is not None:
            self._missed.append(change)

    def all(self) -> tuple[Instance, ...]:
        """Return them ordered by name, then id: the very same tuple as long as nothing changed."""
        assert self._known is not None
        if not self._is_in_order:
            self._order = sorted(self._known.values(), key=lambda i: (i.name, i.id))
            self._places = {instance.id: place for place, instance in enumerate(self._order)}
            self._is_in_order = True
        if self._all is None:
            self._all = tuple(self._order)
        return self._all

    def _apply(self, known: dict[InstanceId, Instance], change: Change) -> None:
        for instance in change(known):
            before = known.get(instance.id)
            if instance.deleted_at is not None or instance.retired_at is not None:
                if before is None:
                    continue
                del known[instance.id]
                self._is_in_order = False
            elif before == instance:
                continue
            else:
                known[instance.id] = instance
                if before is None or before.name != instance.name:
                    self._is_in_order = False
                elif self._is_in_order:
                    self._order[self._places[instance.id]] = instance
            self._all = None
