"""The public baselines: one for each supported operating system, for ECS and for BMS. Nobody can change or delete them.

What they ask for is what the peers' predefined baselines have in common (AWS Patch Manager: "Security", severity "Critical" or "Important",
seven days after release; COC presets one public baseline for each OS and lets nobody change it): security advisories that the
vendor calls Critical or Important, a week after issue, so that a bad update has been withdrawn by then. We do not take
AWS's second half, all bugfixes too: it buries what is urgent. AWS gives its presets no compliance level, which leaves every
finding equally urgent; ours are two rules, so that the level tells Critical from Important.
"""

from __future__ import annotations

import re
from typing import Final

from controller.compliance.model import Baseline, Category, Level, Rule, Severity
from controller.fleet.model import ResourceType
from controller.fleet.products import FAMILIES

WAIT_DAYS: Final = 7
RULES: Final = (
    Rule(
        categories=(Category.SECURITY,),
        severities=(Severity.CRITICAL,),
        approve_after_days=WAIT_DAYS,
        level=Level.CRITICAL,
    ),
    Rule(
        categories=(Category.SECURITY,),
        severities=(Severity.IMPORTANT,),
        approve_after_days=WAIT_DAYS,
        level=Level.HIGH,
    ),
)
_SHORT: Final = {"Huawei Cloud EulerOS": "HCE"}
_SCENARIOS: Final = (ResourceType.ECS, ResourceType.BMS)  # CCE has none until one is created


def public_baselines() -> tuple[Baseline, ...]:
    """Return all public baselines: ids like "public-centos-ecs", names like "CentOS-Default" and "CentOS-BMS-Default"."""
    return tuple(_preset(family, scenario) for family in FAMILIES for scenario in _SCENARIOS)


def _preset(family: str, scenario: ResourceType) -> Baseline:
    short = _SHORT.get(family, re.sub(r"[^A-Za-z0-9]+", "-", family))
    middle = "" if scenario is ResourceType.ECS else f"-{scenario.value}"
    return Baseline(
        id=f"public-{short.lower()}-{scenario.value.lower()}",
        name=f"{short}{middle}-Default",
        scenario=scenario,
        operating_system=family,
        rules=RULES,
        description=f"Security updates of {family} that are Critical or Important, {WAIT_DAYS} days after issue.",
        public=True,
        created_by="patchwarden",
    )
