"""Until when vendors maintain their operating systems, for the reason EOL (SEMANTICS R11).

The last day of the support that is open to every user, or part of the plain subscription: paid extensions do not count. Sources:

* CentOS: centos.org/centos-linux-eol and centos.org/cl-vs-cs · RHEL: access.redhat.com/support/policy/updates/errata, end of maintenance
* Rocky Linux: wiki.rockylinux.org/rocky/version · AlmaLinux: wiki.almalinux.org/release-notes, end of security support
* Oracle Linux: "Lifetime Support Policy: Oracle Open Source", end of premier support (told by the month: its last day)
* Amazon Linux: the FAQs of Amazon Linux and Amazon Linux 2, docs.aws.amazon.com/linux/al2023 "Release cadence"
* Fedora: docs.fedoraproject.org/en-US/releases/eol

A product that is not here has no such date that we know of, and never gets this reason: openEuler and EulerOS date each service pack anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Final

LAST_DAYS: Final[Mapping[str, date]] = {
    "CentOS 6": date(2020, 11, 30),
    "CentOS 7": date(2024, 6, 30),
    "CentOS 8": date(
        2024, 5, 31
    ),  # of Stream 8; CentOS Linux 8 ended on 2021-12-31, and the two cannot be told apart by name
    "CentOS 9": date(2027, 5, 31),  # Stream
    "RHEL 6": date(2020, 11, 30),
    "RHEL 7": date(2024, 6, 30),
    "RHEL 8": date(2029, 5, 31),
    "RHEL 9": date(2032, 5, 31),
    "RHEL 10": date(2035, 5, 31),
    "Rocky Linux 8": date(2029, 5, 31),
    "Rocky Linux 9": date(2032, 5, 31),
    "Rocky Linux 10": date(2035, 5, 31),
    "AlmaLinux 8": date(2029, 5, 31),
    "AlmaLinux 9": date(2032, 5, 31),
    "AlmaLinux 10": date(2035, 5, 31),
    "Oracle Linux 6": date(2021, 3, 31),
    "Oracle Linux 7": date(2024, 12, 31),
    "Oracle Linux 8": date(2029, 7, 31),
    "Oracle Linux 9": date(2032, 6, 30),
    "Oracle Linux 10": date(2035, 6, 30),
    "Amazon Linux 2018.03": date(2023, 12, 31),
    "Amazon Linux 2": date(2026, 6, 30),
    "Amazon Linux 2023": date(2029, 6, 30),
    "Fedora 36": date(2023, 5, 16),
    "Fedora 37": date(2023, 12, 5),
    "Fedora 38": date(2024, 5, 21),
    "Fedora 39": date(2024, 11, 26),
    "Fedora 40": date(2025, 5, 13),
}


def last_day(product: str) -> date | None:
    """Return the last day on which a product's vendor maintains it, by its major version; None when that is not known.

    The date of "CentOS 7" is that of "CentOS 7.9" too: a vendor's minor releases end with the next one, and updating is what leads there.
    """
    return LAST_DAYS.get(product) or LAST_DAYS.get(product.partition(".")[0])
