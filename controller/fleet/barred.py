"""To whom nothing may be sent although a ticket has it among its targets: who left the fleet, or was found to be two, since then."""

from __future__ import annotations

from collections.abc import Iterable

from controller.fleet.model import Instance, InstanceId


def why_barred(instance: Instance) -> str:
    """Return why nothing may be sent to an instance, with what to do about it; empty when something may."""
    if instance.deleted_at is not None:
        return "the instance was deleted; to have it back, enrol its host again: patchctl tokens create"
    if instance.retired_at is not None:
        return f"the instance was retired; to take it back: patchctl instances restore {instance.name}"
    if instance.quarantined:
        return (
            "the instance is in quarantine, two hosts speak as one: mend it "
            f"(patchctl instances show {instance.name}), then patchctl instances release {instance.name}"
        )
    return ""


class Barred:
    """Those instances, to be asked like a dict. Memory only: `note` each instance at the start, and whenever one changes in this."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._why: dict[InstanceId, str] = {}

    def note(self, instances: Iterable[Instance]) -> None:
        """Take note of what instances are now."""
        for instance in instances:
            if why := why_barred(instance):
                self._why[instance.id] = why
            else:
                self._why.pop(instance.id, None)

    def get(self, instance: InstanceId, /) -> str | None:
        """Return why nothing may be sent to an instance; None when something may."""
        return self._why.get(instance)
