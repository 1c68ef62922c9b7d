"""Which of the known partitioners may have written an input, judged by the last keys of it in this partition."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

# From a key to the partition it belongs in, by the name of the partitioner.
Partitioners = Mapping[str, Callable[[bytes], int]]
# With two partitions a wrong partitioner explains half of the keys: it explains so many once in 10^19 times.
_KEPT: Final = 64
# Of each batch until so many are kept, then one of each. A key costs 3 us once its partitioner is known, 10 us before.
_OF_BATCH: Final = 4


class KeySample:
    """The last keys of one input that were sampled in one partition, and which partitioners put each of them there.

    It decides nothing of the join, so no snapshot has it. A producer that changes its partitioner is noticed, because
    only the last keys count.
    """

    def __init__(self, partitioners: Partitioners, partition: int, keys: Iterable[bytes] = ()) -> None:
        """`keys`: those known before the first batch."""
        self._partitioners = partitioners
        self._partition = partition
        # For each key the names of the partitioners that explain where it is.
        self._explained: deque[frozenset[str]] = deque((self._explain(key) for key in keys), maxlen=_KEPT)
        self._names: frozenset[str] | None = None

    def add(self, keys: Sequence[bytes | None]) -> None:
        """Takes a few keys from all over a batch."""
        step = max(1, len(keys) // (1 if len(self._explained) == _KEPT else _OF_BATCH))
        for row in range(0, len(keys), step):
            key, names = keys[row], self.names()
            if key is None:
                continue
            if len(names) == 1 and self._partition == self._partitioners[next(iter(names))](key):
                # As the keys before: what else would explain it does not matter.
                self._explained.append(names)
            else:
                self._explained.append(self._explain(key))
                self._names = None

    def names(self) -> frozenset[str]:
        """The partitioners that explain all of the last keys; all that are known while there are none."""
        if self._names is None:
            self._names = frozenset(self._partitioners).intersection(*self._explained)
        return self._names

    def elsewhere(self, key: bytes) -> bool:
        """Whether all partitioners that may have written this input put a key in another partition.

        False while no key was seen, and where no known partitioner explains them.
        """
        names = self.names() if self._explained else frozenset()
        return bool(names) and all(self._partitioners[name](key) != self._partition for name in names)

    def _explain(self, key: bytes) -> frozenset[str]:
        return frozenset(name for name, of in self._partitioners.items() if of(key) == self._partition)
