"""Identifiers: short, without letters that look alike, made only where the world is touched."""

from __future__ import annotations

import secrets
from typing import Final, Protocol

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32


class Ids(Protocol):
    """Makes identifiers."""

    def new(self, prefix: str, length: int) -> str:
        """Return `prefix` and `length` characters that nobody has."""
        ...


class RandomIds:
    """Identifiers from the system's random source."""

    def new(self, prefix: str, length: int) -> str:
        """Return `prefix` and `length` random characters, 5 bits each."""
        return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(length))


def new_secret(prefix: str) -> str:
    """Return a token of 160 random bits that starts with `prefix`, so that it is recognised when it leaks."""
    return prefix + secrets.token_urlsafe(20)
