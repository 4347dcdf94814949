"""Reading the instants that people type: a day, or a day with a time."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Annotated, Final

import typer

from controller.cli.command import Misuse

AsOfOption = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="DATE",
        help="Answer as of a past day's end (YYYY-MM-DD, UTC; today means now), or of an instant such as 2026-11-01T08:30Z.",
    ),
]
_FORMS: Final = "write a day as 2026-11-01, or an instant as 2026-11-01T08:30Z"


def as_of(option: str, text: str | None, now: datetime) -> datetime | None:
    """Read the instant for which to answer; None means now. A time without zone is UTC."""
    if text is None:
        return None
    text = text.strip()
    try:
        if len(text) <= len("YYYY-MM-DD"):
            day = date.fromisoformat(text)
            return None if day == now.astimezone(UTC).date() else datetime.combine(day, time(23, 59, 59), UTC)
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Misuse(f"{option}: {text!r} is not a date; {_FORMS}") from None
