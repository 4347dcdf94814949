"""Checks what callers send and gathers everything that is wrong, so that one answer names each wrong field."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

from common.errors import InvalidArgument, Violation

MAX_REFERENCE: Final = 100
"""Characters of an id or a name by which something is called."""
_BREAKS: Final = frozenset("\n\t")


class Checks:
    """Collects violations. `done()` raises them all at once."""

    def __init__(self) -> None:
        """Begin with nothing wrong."""
        self.violations: list[Violation] = []

    def refuse(self, field: str, description: str) -> None:
        """Note that a field is wrong, and what is allowed."""
        self.violations.append(Violation(field, description))

    def text(self, field: str, value: str, most: int, *, least: int = 0, lines: bool = False) -> str:
        """Check a text's length and that it holds nothing that could disturb a terminal or a log; return it."""
        if not least <= len(value) <= most:
            allowed = f"{least} to {most}" if least else f"at most {most}"
            self.refuse(field, f"has {len(value)} characters, allowed are {allowed}" if value else "is missing")
        elif any(unicodedata.category(c) in ("Cc", "Cs", "Cf") and not (lines and c in _BREAKS) for c in value):
            self.refuse(field, "contains control characters")
        return value

    def texts(self, field: str, values: Collection[str], most_values: int, most: int) -> tuple[str, ...]:
        """Check a list of texts; return it without duplicates."""
        if len(values) > most_values:
            self.refuse(field, f"has {len(values)} values, allowed are {most_values}")
            return ()
        return tuple(dict.fromkeys(self.text(f"{field}[{i}]", v, most, least=1) for i, v in enumerate(values)))

    def number(self, field: str, value: int, least: int, most: int) -> int:
        """Check a whole number; return it."""
        if not least <= value <= most:
            self.refuse(field, f"{value} is out of range, allowed {least} to {most}")
        return value

    @contextmanager
    def part(self, prefix: str) -> Iterator[None]:
        """Note what the code inside refuses, its fields below `prefix`, and go on."""
        try:
            yield
        except InvalidArgument as inner:
            self.violations += [Violation(_below(prefix, v.field), v.description) for v in inner.violations]

    def done(self) -> None:
        """Raise InvalidArgument if anything was wrong."""
        if self.violations:
            raise InvalidArgument(tuple(dict.fromkeys(self.violations)))


def reference(field: str, value: str) -> str:
    """Check an id or name by which the caller means something; raise InvalidArgument."""
    checks = Checks()
    checks.text(field, value, MAX_REFERENCE, least=1)
    checks.done()
    return value


def _below(prefix: str, field: str) -> str:
    if not prefix or field == prefix or field.startswith((f"{prefix}.", f"{prefix}[")):
        return field
    return f"{prefix}.{field}" if field else prefix
