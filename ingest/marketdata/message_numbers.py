"""The numbers of the messages of one connection, where an exchange counts them over all topics."""

from __future__ import annotations

MAX_JUMP = 1_000_000  # messages; a longer jump is a wrong number


class MessageNumbers:
    """Finds lost messages. Each number is one above the number before it; the first may be any.

    A message with a repeated, lower or far too high number is refused, because its content is known, outdated or damaged. If the
    next message continues that number, the exchange counts anew.
    """

    def __init__(self) -> None:
        self._next: int | None = None
        self._after_refused: int | None = None

    def lost_before(self, number: int) -> bool:
        """Whether messages are lost before the one with this number. Raises ValueError where it is refused."""
        expected = self._next
        if expected is not None and not expected <= number < expected + MAX_JUMP and number != self._after_refused:
            self._after_refused = number + 1
            raise ValueError(f"message {number} follows message {expected - 1} and is ignored")
        self._next, self._after_refused = number + 1, None
        return expected is not None and number != expected
