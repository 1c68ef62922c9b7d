"""Every error clickfold raises on purpose.

    ClickfoldError
     ├─ SettingsError      a setting is wrong: stops at start; the text names setting, value, bound, remedy
     │   └─ StateMismatch  kept state belongs to other settings, topics or a newer program
     ├─ LostHistory        a needed offset is below the log's start: says both numbers
     ├─ Transient          passes by itself: try again after `retry_after_s`
     ├─ TaskLost           the partition moved or a newer owner fenced this one: drop its memory, recover if still owned
     │   └─ DamagedState    kept state is not what was written: never trusted, rebuilt from the input logs
     └─ BrokenInvariant    a bug: stops the worker before it commits

Bad data is never an exception: it is a returned `schemas.rejects.Rejected`.
"""

from typing import Final

EXIT_CODES: Final = {
    0: "It did what was asked. A worker that was told to stop ends with it too.",
    1: "`compare`, `verify`: what was compared differs.",
    2: "A setting is wrong, or a fault was named in one sentence on standard error.",
    130: "Stopped by Ctrl-C.",
}


class ClickfoldError(Exception):
    """Root of the tree; its text is one sentence fit for a terminal."""


class SettingsError(ClickfoldError):
    """A setting cannot work. Change the setting named in the text; nothing was read or written."""


class StateMismatch(SettingsError):
    """Kept state was made under other settings. Use the former ones, or start a new run."""


class LostHistory(ClickfoldError):
    """Records the fold needs are no longer in Kafka. Restore retention or accept the loss in words."""


class Transient(ClickfoldError):
    """A passing fault of something outside."""

    def __init__(self, text: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class TaskLost(ClickfoldError):
    """This worker no longer owns what it was working on. What it did not commit never happened."""


class DamagedState(TaskLost):
    """A file of kept state is missing, shorter or other than what was written. What was committed is safe in Kafka."""


class BrokenInvariant(ClickfoldError):
    """Something that cannot be, is. Nothing of the current transaction may be committed."""
