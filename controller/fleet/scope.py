"""What of the fleet somebody may see: accounts, and inside them enterprise projects. What is outside does not exist for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controller.fleet.model import Instance


@dataclass(frozen=True, slots=True)
class Scope:
    """What may be seen. Without accounts nothing may; without enterprise projects all of the accounts may."""

    accounts: frozenset[str]
    enterprise_projects: frozenset[str] = frozenset()

    def covers(self, account: str, enterprise_project: str) -> bool:
        """Say whether what belongs to an account and an enterprise project may be seen."""
        return account in self.accounts and (
            not self.enterprise_projects or enterprise_project in self.enterprise_projects
        )

    def visible(self, instances: Iterable[Instance]) -> tuple[Instance, ...]:
        """Return the instances that may be seen, in the order given. Look others up among these, so that they are not found."""
        return tuple(i for i in instances if self.covers(i.account, i.enterprise_project))
