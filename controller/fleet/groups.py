"""Application groups are paths: "shop/web/frontend" stands in "shop/web", and that in "shop". What is said of one is said of all below."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

SEPARATOR: Final = "/"


@lru_cache(maxsize=4096)
def lineage(group: str) -> tuple[str, ...]:
    """Return a group and all above it, the nearest first: ("shop/web", "shop"); nothing for no group."""
    parts = group.split(SEPARATOR) if group else []
    return tuple(SEPARATOR.join(parts[:end]) for end in range(len(parts), 0, -1))


def stands_in(group: str, groups: Iterable[str]) -> bool:
    """Say whether a group is one of these or below one of them."""
    wanted = groups if isinstance(groups, frozenset) else frozenset(groups)
    return any(above in wanted for above in lineage(group))


def wrong_with(group: str) -> str | None:
    """Say what keeps a text from being a group's path, None when nothing does; no group at all is fine."""
    if any(part != part.strip() or not part for part in group.split(SEPARATOR)) and group:
        return (
            f"{group[:80]!r} has an empty part or spaces beside a {SEPARATOR}; write a path such as shop/web/frontend"
        )
    return None
