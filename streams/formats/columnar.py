"""Parquet, ORC and Arrow files by column, a batch at a time, and only the columns that are wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final

import numpy as np

from schemas.errors import SettingsError
from streams.formats.damage import Damaged
from streams.mapping.values import LocalMs, Ms

# Of a column of Parquet: without it a whole group of rows is read at once.
_BUFFER_BYTES: Final = 1 << 20
# Of one value. Texts that differ take more, places in a dictionary of up to 65,536 texts take less.
_REPEATED_BYTES: Final = 3


class Columns:
    """A file of one of the formats, opened. `names` are its columns.

    Raises Damaged when it is not what it says, SettingsError when pyarrow is missing.
    """

    def __init__(self, file: BinaryIO, kind: str) -> None:
        _import_pyarrow(kind)
        import pyarrow as pa

        self._kind = kind
        try:
            if kind == "Parquet":
                import pyarrow.parquet as pq

                metadata = pq.ParquetFile(file).metadata
                file.seek(0)
                self._file: Any = pq.ParquetFile(
                    file,
                    metadata=metadata,
                    buffer_size=_BUFFER_BYTES,
                    pre_buffer=False,
                    read_dictionary=_repeated(metadata),
                )
                schema = self._file.schema_arrow
            elif kind == "ORC":
                import pyarrow.orc as orc

                self._file = orc.ORCFile(file)
                schema = self._file.schema
            elif kind == "an Arrow stream":
                self._file = pa.ipc.open_stream(file)
                schema = self._file.schema
            else:
                self._file = pa.ipc.open_file(file)
                schema = self._file.schema
        except (pa.ArrowException, OSError) as error:
            raise Damaged(str(error)) from error
        self.names: list[str] = list(schema.names)

    def batches(self, wanted: Sequence[str] | None, most: int) -> Iterator[Any]:
        """Batches of Arrow of at most so many rows; `wanted` names the columns, None for all. Raises Damaged."""
        import pyarrow as pa

        names = [name for name in self.names if wanted is None or name in wanted]
        try:
            for batch in self._batches(names, most):
                for start in range(0, batch.num_rows, most):
                    yield batch.slice(start, most)
        except (pa.ArrowException, OSError) as error:
            raise Damaged(str(error)) from error

    def _batches(self, names: list[str], most: int) -> Iterator[Any]:
        if self._kind == "Parquet":
            yield from self._file.iter_batches(batch_size=most, columns=names, use_threads=False)
        elif self._kind == "ORC":
            for stripe in range(self._file.nstripes):
                yield self._file.read_stripe(stripe, columns=names)
        elif self._kind == "an Arrow stream":
            yield from self._file
        else:
            for place in range(self._file.num_record_batches):
                yield self._file.get_batch(place)


class PythonColumns(Mapping[str, Sequence[Any]]):
    """The columns of a batch by name, as Python has their values; each is made when it is asked for.

    Raises Damaged when a text is not UTF-8.
    """

    def __init__(self, batch: Any) -> None:
        self.batch = batch
        self._made: dict[str, Sequence[Any]] = {}

    def __getitem__(self, name: str) -> Sequence[Any]:
        import pyarrow as pa

        if name not in self._made:
            if name not in self.batch.schema.names:
                raise KeyError(name)
            try:
                self._made[name] = _values(self.batch.column(name))
            except (pa.ArrowException, UnicodeDecodeError) as error:
                raise Damaged(str(error)) from error
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.batch.schema.names)

    def __len__(self) -> int:
        return len(self.batch.schema.names)


def _import_pyarrow(kind: str) -> None:
    """Raises SettingsError with the remedy when the package is missing."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise SettingsError(f"it is {kind}, which needs pyarrow: `pip install 'clickfold[files]'`") from error


def _repeated(metadata: Any) -> list[str]:
    """Columns of text that repeat few values. As dictionaries each value is made once, not once a row."""
    if not metadata.num_row_groups:
        return []
    first = metadata.row_group(0)
    chunks = [first.column(place) for place in range(first.num_columns)]
    return [
        chunk.path_in_schema
        for chunk in chunks
        if chunk.physical_type == "BYTE_ARRAY"
        and "." not in chunk.path_in_schema
        and chunk.total_uncompressed_size < _REPEATED_BYTES * max(chunk.num_values, 1)
    ]


def _values(column: Any) -> Sequence[Any]:
    """The values as Python has them; moments as ms, which takes a tenth of the time of `datetime`."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_timestamp(kind):
        moment = LocalMs if kind.tz is None else Ms
        whole = column.cast(pa.timestamp("ms", kind.tz), safe=False).cast(pa.int64())
        return [value if value is None else moment(value) for value in whole.to_pylist()]
    if pa.types.is_dictionary(kind):
        words, places = _values(column.dictionary), _values(column.indices)
        return [None if place is None else words[place] for place in places]
    if pa.types.is_map(kind):
        return [value if value is None else dict(value) for value in column.to_pylist()]
    if (pa.types.is_integer(kind) or pa.types.is_floating(kind)) and not column.null_count:
        # The method of pyarrow imports pandas where it is installed, which takes as long as 50,000 events.
        return list(np.from_dlpack(column).tolist())
    found: list[Any] = column.to_pylist()
    return found
