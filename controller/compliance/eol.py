"""Until when vendors maintain their operating systems, for the reason EOL (SEMANTICS R11).

The last day of the support that is open to every user, or part of the plain subscription: paid extensions do not count. Each date stands in
something that the vendor published, named beside it; "os-release" is the SUPPORT_END that the release last said of itself.

A product that is not here never gets this reason. Nothing of the vendor's was at hand that dates CentOS 6 and Stream 9, RHEL 6 and 10, any
Oracle Linux, or Fedora 39; openEuler and EulerOS date each service pack anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Final

LAST_DAYS: Final[Mapping[str, date]] = {
    # CentOS blog, "End dates are coming for CentOS Stream 8 and CentOS Linux 7". CentOS Linux 8 ended on 2021-12-31, and cannot be
    # told from Stream 8 by its name.
    "CentOS 7": date(2024, 6, 30),
    "CentOS 8": date(2024, 5, 31),
    # The same page says when RHEL 7's maintenance ends; 8 and 9: the life cycle dates of Red Hat Insights' planning service, "retirement"
    "RHEL 7": date(2024, 6, 30),
    "RHEL 8": date(2029, 5, 31),
    "RHEL 9": date(2032, 5, 31),
    # Rocky Linux wiki, "Version table", and os-release
    "Rocky Linux 8": date(2029, 5, 31),
    "Rocky Linux 9": date(2032, 5, 31),
    "Rocky Linux 10": date(2035, 5, 31),
    # AlmaLinux wiki, "Release Notes": security support; 10: os-release
    "AlmaLinux 8": date(2029, 5, 31),
    "AlmaLinux 9": date(2032, 5, 31),
    "AlmaLinux 10": date(2035, 6, 1),
    # Amazon EC2 user guide, "Amazon Linux": maintenance support of the Amazon Linux AMI
    "Amazon Linux 2018.03": date(2023, 12, 31),
    # os-release; it said 2025-06-30 before AWS extended it
    "Amazon Linux 2": date(2026, 6, 30),
    # Amazon Linux 2023 user guide, "Release cadence", and os-release
    "Amazon Linux 2023": date(2029, 6, 30),
    # os-release
    "Fedora 36": date(2023, 5, 16),
    "Fedora 37": date(2023, 12, 5),
    "Fedora 38": date(2024, 5, 21),
    "Fedora 40": date(2025, 5, 13),
}


def last_day(product: str) -> date | None:
    """Return the last day on which a product's vendor maintains it, by its major version; None when that is not known.

    The date of "CentOS 7" is that of "CentOS 7.9" too: a vendor's minor releases end with the next one, and updating is what leads there.
    """
    return LAST_DAYS.get(product) or LAST_DAYS.get(product.partition(".")[0])
