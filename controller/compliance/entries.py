"""Entries of approved and rejected lists (SEMANTICS §1): how a package, an advisory or a CVE is meant by what an operator wrote."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import translate
from typing import Final

from common.nevra import Nevra

_GLOB: Final = re.compile(r"[*?\[]")
_DIGIT: Final = re.compile(r"[0-9]")
_ARCHITECTURE: Final = re.compile(
    r"\.(noarch|i[3-6]86|x86_64|aarch64|ppc64(le)?|s390x|riscv64|loongarch64|sw_64|armv7hl)$"
)
_CVE: Final = re.compile(r"cve-\d{4}-\d{4,}", re.IGNORECASE)
_ADVISORY: Final = re.compile(
    r"[a-z0-9.]+-?(?:20\d\d-)?[sbe]a-?\d{4}[:-]\d+(?::\d+)?|(?:fedora|elsa|alas\d*)-.*\d{4}-.+", re.IGNORECASE
)


def forms(build: Nevra) -> Iterator[str]:
    """Return all the ways to spell a build in a list: name, n-v, n-v-r, n-v-r.a, with the epoch in front or inside, and name.arch."""
    name, epoch, version, release, arch = build
    yield name
    yield f"{name}.{arch}"
    for rest in (version, f"{version}-{release}", f"{version}-{release}.{arch}"):
        yield f"{name}-{rest}"
        yield f"{name}-{epoch}:{rest}"
        yield f"{epoch}:{name}-{rest}"


def is_for_packages(entry: str) -> bool:
    """Say whether an entry can mean packages: not if it looks like a CVE or like a vendor's advisory."""
    return _CVE.fullmatch(entry) is None and _ADVISORY.fullmatch(entry) is None


class Entries:
    """Some entries, asked many times. Case does not matter.

    A glob is for names, and one that ends like "*.i686" for name.arch. If what follows its last dash has a digit ("example-*.el7",
    "kernel-5.1*") it is for all other forms too; without that, "python3-*" would mean python3 itself, by its version.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        """Sort the entries by how they are looked up."""
        self._words = defaultdict[str, list[int]](list)
        self._names = set[str]()
        self._globs = list[tuple[re.Pattern[str], bool, bool, int]]()
        for place, entry in enumerate(entries):
            word = entry.strip().lower()
            if _GLOB.search(word):
                for_forms = "-" in word and _DIGIT.search(word.rpartition("-")[2]) is not None
                for_arch = _ARCHITECTURE.search(word) is not None
                self._globs.append((re.compile(translate(word)), for_forms, for_arch, place))
            else:
                self._words[word].append(place)
                self._names |= _possible_names(word)

    def __bool__(self) -> bool:
        return bool(self._words or self._globs)

    def of_build(self, build: Nevra) -> tuple[int, ...]:
        """Return the places of the entries that mean a build, ascending."""
        name = build.name.lower()
        found = set[int]()
        spelled = list[str]()
        if name in self._names:
            spelled = [form.lower() for form in forms(build)]
            found = {place for form in spelled for place in self._words.get(form, ())}
        for pattern, for_forms, for_arch, place in self._globs:
            if pattern.match(name):
                found.add(place)
            elif for_forms:
                spelled = spelled or [form.lower() for form in forms(build)]
                if any(pattern.match(form) for form in spelled):
                    found.add(place)
            elif for_arch and pattern.match(f"{name}.{build.arch.lower()}"):
                found.add(place)
        return tuple(sorted(found))

    def of_advisory(self, advisory: str, cves: Iterable[str]) -> tuple[int, ...]:
        """Return the places of the entries that mean an advisory, by its id or by one of its CVEs, ascending."""
        return tuple(sorted({place for word in (advisory, *cves) for place in self._words.get(word.lower(), ())}))


def _possible_names(word: str) -> set[str]:
    """Return every name that a package may have that an entry without globs means: a version or release has no dash."""
    found = set[str]()
    for text in {word, word.partition(":")[2] or word}:
        found |= {text, text.rpartition(".")[0]}
        rest = text
        for _ in range(2):
            rest = rest.rpartition("-")[0]
            found.add(rest)
    return found - {""}
