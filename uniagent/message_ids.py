"""Ids for messages, from the kernel. `common.ids` draws from `secrets`, which loads OpenSSL: too much for an idle daemon."""

from __future__ import annotations

import os
from typing import Final, Protocol

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class MessageIds:
    """Unpredictable ids, never the same twice, through restarts."""

    def new(self, prefix: str, length: int) -> str:
        """Return `prefix` and `length` random characters, 5 bits each."""
        return prefix + "".join(_ALPHABET[byte & 31] for byte in os.urandom(length))


class Ids(Protocol):
    """Makes ids; common.ids.Ids is the same."""

    def new(self, prefix: str, length: int) -> str:
        """Return `prefix` and `length` characters that nobody has."""
        ...
