"""What reading an image or a mask ends with when it cannot be used: a reason code, never a crash."""

from __future__ import annotations

from clnm.entities import Reason


class RefusedError(ValueError):
    """This file cannot be used. `detail` holds numbers and codes only, nothing read from the file as text."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason.value} {detail}".strip())
        self.reason, self.detail = reason, detail


UNTRUSTED: tuple[type[Exception], ...] = (Exception,)
"""What a parser may raise on hostile bytes: anything (RecursionError and MemoryError among them).

Caught only where bytes from outside are parsed, and always turned into a reason code, a null value or unknown spacing.
"""
