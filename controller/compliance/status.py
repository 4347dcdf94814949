"""Whether an instance complies: the one word of compliance that the fleet's records need (a selector may ask for it)."""

from __future__ import annotations

from enum import StrEnum


class InstanceStatus(StrEnum):
    """Whether an instance complies."""

    COMPLIANT = "COMPLIANT"
    NON_COMPLIANT = "NON_COMPLIANT"
    UNDETERMINED = "UNDETERMINED"
