"""A package's full name is read in every form in which tools write it, and written in one."""

from __future__ import annotations

import pytest

from common import evr, nevra
from common.nevra import Nevra

OPENSSL = Nevra("openssl-libs", 1, "1.0.2k", "19.el7", "x86_64")


@pytest.mark.parametrize(
    "text",
    [
        "openssl-libs-1:1.0.2k-19.el7.x86_64",
        "1:openssl-libs-1.0.2k-19.el7.x86_64",
        "  openssl-libs-1:1.0.2k-19.el7.x86_64\n",
    ],
)
def test_the_forms_of_dnf_and_rpm_are_read(text: str) -> None:
    assert nevra.parse(text) == OPENSSL
    assert str(OPENSSL) == "openssl-libs-1:1.0.2k-19.el7.x86_64"


def test_R2_an_absent_epoch_is_0_and_is_not_written() -> None:
    bash = nevra.parse("bash-4.2.46-34.el7.x86_64")
    assert bash == nevra.parse("bash-0:4.2.46-34.el7.x86_64")
    assert str(bash) == "bash-4.2.46-34.el7.x86_64"
    assert [evr.parse_epoch(text) for text in (None, "", "(none)", "0")] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "text",
    [
        *("", "bash", "bash.x86_64", "bash-1.x86_64", "-1-1.x86_64", "bash--1.x86_64", "bash-1-.x86_64", "bash-1-1."),
        *("bash-x:1-1.x86_64", "bash-1:-1.x86_64", "ba sh-1-1.x86_64", "bash-1-1"),
        *("1:2:bash-1-1.x86_64", "a:bash-1:1-1.x86_64", "bash-1:2:3-1.x86_64"),  # found by fuzzing
    ],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        nevra.parse(text)
