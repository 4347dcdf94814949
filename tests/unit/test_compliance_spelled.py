"""Keys that are spelled late are a tuple's in every respect."""

from __future__ import annotations

import pytest
from pyroaring import FrozenBitMap

from controller.compliance.judge import PackageTable, Spelled
from controller.inventory.model import Package
from tests.builders import a_package


def table() -> PackageTable:
    made = PackageTable()
    lines = [a_package(text) for text in ("zsh-1-1.x86_64", "bash-1-1.x86_64", "bash-2-1.x86_64", "vim-1-1.noarch")]
    made.add(Package(n, line.nevra, line.module, line.nevra.key) for n, line in enumerate(lines, 1))
    return made


def test_keys_stand_in_order_and_equal_those_of_a_tuple() -> None:
    known = table()
    found, same = Spelled(FrozenBitMap([1, 2, 4]), known), ("bash.x86_64", "vim.noarch", "zsh.x86_64")
    assert list(found) == list(same)
    assert found == same
    assert (hash(found), len(found), found[0], found[1:], repr(found)) == (hash(same), 3, same[0], same[1:], repr(same))
    assert found != same[:2]
    assert found == Spelled(FrozenBitMap([1, 2, 4]), table())


def test_two_builds_of_one_package_have_one_key() -> None:
    known = table()
    before, after = Spelled(FrozenBitMap([1, 2]), known), Spelled(FrozenBitMap([3, 4]), known)
    assert (after.without(before), before.without(after)) == ({"vim.noarch"}, {"zsh.x86_64"})
    assert Spelled(FrozenBitMap([1, 2]), known) == Spelled(FrozenBitMap([1, 3]), known)
    assert after.without(Spelled(FrozenBitMap([1, 2]), table())) == {"vim.noarch"}


def test_a_package_that_nobody_knows_cannot_be_spelled() -> None:
    with pytest.raises(ValueError, match="was not learnt"):
        list(Spelled(FrozenBitMap([9]), table()))
