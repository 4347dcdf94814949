"""Which operating systems are supported, and how baselines spell them: "CentOS 7.9", "Huawei Cloud EulerOS 2.0"."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

ALL: Final = "All"
FAMILIES: Final = (
    "Huawei Cloud EulerOS",
    "EulerOS",
    "CentOS",
    "openEuler",
    "RHEL",
    "Rocky Linux",
    "AlmaLinux",
    "Fedora",
    "Oracle Linux",
    "Amazon Linux",
)
"""All that are supported, in the order in which they are shown."""
SUPPORTED: Final = (
    "supported: HCE, EulerOS, CentOS, openEuler, RHEL, Rocky, AlmaLinux, Fedora, Oracle Linux, Amazon Linux"
)
"""One sentence for people whose operating system is not."""

_FAMILY_OF_ID: Final = {
    "hce": "Huawei Cloud EulerOS",
    "euleros": "EulerOS",
    "centos": "CentOS",
    "openeuler": "openEuler",
    "rhel": "RHEL",
    "rocky": "Rocky Linux",
    "almalinux": "AlmaLinux",
    "fedora": "Fedora",
    "ol": "Oracle Linux",
    "amzn": "Amazon Linux",
}
_NUMBERS: Final = re.compile(r"\d{1,9}(?:\.\d{1,9}){0,3}")
_SERVICE_PACK: Final = re.compile(r"SP(\d{1,3})(?!\d)", re.IGNORECASE)
_MAX_VERSION: Final = 64


def product_of(os_id: str, version: str) -> str:
    """Return the product's name, "" when it is not supported or its version is not known.

    `version` may be as exact as the host tells: "7.9.2009" is CentOS 7.9; "2.0 (SP10)" is EulerOS 2.10, and so is "2.10";
    "22.03-LTS-SP3" is openEuler 22.03 SP3.
    """
    family = _FAMILY_OF_ID.get(os_id.strip().lower())
    numbers = _NUMBERS.match(version[:_MAX_VERSION].strip())
    if family is None or numbers is None:
        return ""
    exact = ".".join(numbers.group().split(".")[:2])
    if (pack := _SERVICE_PACK.search(version[numbers.end() : _MAX_VERSION])) is not None:
        if family == "EulerOS":
            exact = f"{exact.split('.')[0]}.{int(pack.group(1))}"
        elif family == "openEuler":
            exact = f"{exact} SP{int(pack.group(1))}"
    return f"{family} {exact}"


@lru_cache(maxsize=1024)
def family_of(product: str) -> str:
    """Return the family of a product or of a rule's product, e.g. "CentOS" of "CentOS 7.9"; "" when it is not one of FAMILIES."""
    return next((family for family in FAMILIES if product == family or product.startswith(f"{family} ")), "")


def matches(rule_product: str, product: str) -> bool:
    """Say whether a rule's product means this product: All, a family, or a version by whole components.

    "CentOS 7" means CentOS 7.9, "CentOS 7.1" does not mean CentOS 7.10, "openEuler 22.03" means openEuler 22.03 SP3.
    """
    if rule_product in (ALL, product):
        return True
    return family_of(rule_product) != "" and product.startswith((f"{rule_product}.", f"{rule_product} "))
