"""Every error clickfold raises on purpose.

    ClickfoldError
     ├─ SettingsError       a setting is wrong: stops at start; the text names setting, value, bound and remedy
     │   ├─ SlotTaken       another worker has the slot of this one and is alive
     │   └─ StateMismatch   kept state belongs to other settings, other topics or a newer program
     │       └─ TopicsChanged   a topic is not the one whose offsets the workers committed
     ├─ LostHistory         a needed offset is below the start of the log: the text has both
     ├─ Transient           passes by itself: try again after `retry_after_s`
     │   └─ Fenced          the group knows another member in the slot of this one
     ├─ TaskLost            the partition has moved, or a newer owner fenced this one: drop its memory, then recover it
     │   └─ DamagedState    kept state is not what was written: it is not used, but rebuilt from the input logs
     └─ BrokenInvariant     a bug: stops the worker before it commits

Bad data is never an exception. It is a returned `schemas.rejects.Rejected`.
"""

from typing import Final

EXIT_CODES: Final = {
    0: "Success. Also the end of a worker that a signal has stopped.",
    1: "`compare` and `verify`: there is a difference.",
    2: "A setting is wrong, or another error, such as a full disk below standard output; one sentence on standard "
    "error says which.",
    3: "`fold` and `demo`: the result cannot be used. No record of a log was accepted, more than half of a log "
    "was late or refused, or there are clicks and none matches an impression; standard error says which. "
    "`map check`: the same of its sample. `produce`: nothing of a log was sent, or more than half of it was refused. "
    "`learn`: no line has a label, or more than half of the lines were refused.",
    130: "Stopped by Ctrl-C; `produce` also by SIGTERM.",
    141: "The reader of standard output or error ended before everything was written, as `| head` does.",
}


class ClickfoldError(Exception):
    """Root of the tree. Its text is one sentence, to be shown in a terminal."""


class SettingsError(ClickfoldError):
    """A setting cannot work. Change the setting that the text names; nothing was read or written."""


class SlotTaken(SettingsError):
    """Two workers have one slot of a group. Stop one of them, or give each its own `--slot`."""


class StateMismatch(SettingsError):
    """Kept state was made under other settings. Use the former ones, or start a new run."""


class TopicsChanged(StateMismatch):
    """A topic was deleted, created again or given partitions, or the group's offsets are gone. Start a new run."""


class LostHistory(ClickfoldError):
    """Kafka no longer has records that the fold needs. Restore the retention, or accept the loss by an option."""


class Transient(ClickfoldError):
    """A fault of another system that passes by itself."""

    def __init__(self, text: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class Fenced(Transient):
    """Another member of the group has the name of this one. Once it may pass; twice within a minute it does not."""


class TaskLost(ClickfoldError):
    """This worker no longer owns the partition. What it did not commit has no effect."""


class DamagedState(TaskLost):
    """A file of kept state is missing, too short or not what was written. What was committed is safe in Kafka."""


class BrokenInvariant(ClickfoldError):
    """A condition that must always hold does not. Nothing of the current transaction may be committed."""
