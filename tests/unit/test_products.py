"""Which operating systems are supported, and which product a rule means."""

from __future__ import annotations

import pytest

from controller.fleet.products import FAMILIES, family_of, matches, product_of


@pytest.mark.parametrize(
    ("os_id", "version", "product"),
    [
        ("hce", "2.0", "Huawei Cloud EulerOS 2.0"),
        ("hce", "2.0 (x86_64)", "Huawei Cloud EulerOS 2.0"),
        ("euleros", "2.10", "EulerOS 2.10"),
        ("euleros", "2.0 (SP10x86_64)", "EulerOS 2.10"),
        ("EulerOS", "2.0 (SP9)", "EulerOS 2.9"),
        ("centos", "7.9", "CentOS 7.9"),
        ("centos", "7.9.2009", "CentOS 7.9"),
        ("centos", "7", "CentOS 7"),
        ("openEuler", "22.03-LTS-SP3", "openEuler 22.03 SP3"),
        ("openeuler", "22.03-LTS", "openEuler 22.03"),
        ("rhel", "9.4", "RHEL 9.4"),
        ("rocky", "9.4", "Rocky Linux 9.4"),
        ("almalinux", "9.4", "AlmaLinux 9.4"),
        ("fedora", "40", "Fedora 40"),
        ("ol", "9", "Oracle Linux 9"),
        ("amzn", "2023", "Amazon Linux 2023"),
        ("ubuntu", "22.04", ""),
        ("centos", "", ""),
        ("centos", "rolling", ""),
        ("", "7.9", ""),
        ("centos", "9" * 1000, "CentOS 999999999"),
    ],
)
def test_a_host_is_a_product_in_the_words_of_baselines(os_id: str, version: str, product: str) -> None:
    assert product_of(os_id, version) == product


def test_every_product_belongs_to_one_family() -> None:
    assert [family_of(f"{family} 1.0") for family in FAMILIES] == list(FAMILIES)
    assert [family_of(family) for family in FAMILIES] == list(FAMILIES)
    assert family_of("EulerOS 2.10") == "EulerOS"
    assert family_of("Huawei Cloud EulerOS 2.0") == "Huawei Cloud EulerOS"
    assert family_of("Ubuntu 22.04") == family_of("") == family_of("CentOSish 1") == ""


@pytest.mark.parametrize(
    ("rule", "product", "means"),
    [
        ("All", "CentOS 7.9", True),
        ("CentOS 7.9", "CentOS 7.9", True),
        ("CentOS 7", "CentOS 7.9", True),
        ("CentOS", "CentOS 7.9", True),
        ("CentOS 7.9", "CentOS 7.10", False),
        ("CentOS 7.1", "CentOS 7.10", False),
        ("CentOS 7.9", "CentOS 7", False),
        ("CentOS 7", "CentOS 70.1", False),
        ("Cent", "CentOS 7.9", False),
        ("Huawei", "Huawei Cloud EulerOS 2.0", False),
        ("EulerOS 2.0", "Huawei Cloud EulerOS 2.0", False),
        ("openEuler 22.03", "openEuler 22.03 SP3", True),
        ("openEuler 22.03 SP3", "openEuler 22.03", False),
        ("openEuler 22.03 SP1", "openEuler 22.03 SP10", False),
        ("", "CentOS 7.9", False),
    ],
)
def test_a_rules_product_means_whole_version_components(rule: str, product: str, means: bool) -> None:
    assert matches(rule, product) is means
