"""What tests of mappings share: a mapping of each log as text, and files of one content in every format."""

from __future__ import annotations

import io
from typing import Any

import orjson

from streams.mapping.compiled import Compiled, Mapped
from streams.mapping.language import read_mapping

CLICKS = '[clicks]\nclick_id = "k"\nimpression_id = "i"\n'
IMPRESSIONS = '[impressions]\nimpression_id = "i"\ncampaign_id = "c"\ncreative_id = "a"\n'
# Behind IMPRESSIONS: the two fields that tests vary.
REST = 'ts = "t"\nprice_micros = "p"\n'


def compiled(text: str, log: str = "impressions", salts: dict[str, str] | None = None) -> Compiled:
    """The mapping of one log in a text of TOML."""
    return Compiled(read_mapping(text, "m.toml").inputs[log], salts)


def mapped(text: str, *records: Any, log: str = "impressions", salts: dict[str, str] | None = None) -> Mapped:
    """What a mapping makes of records, which are objects, or texts as they are."""
    ready = compiled(text, log, salts)
    lines = [each if isinstance(each, bytes) else orjson.dumps(each) for each in records]
    return ready.map(ready.reader.rows(lines))


def one(text: str, record: Any, log: str = "impressions", **options: Any) -> Any:
    """The one event of one record, or the sentence why it is refused."""
    found = mapped(text, record, log=log, **options)
    if found.refused:
        (refused,) = found.refused.values()
        return refused.detail
    (value,) = found.values
    return orjson.loads(value)


def in_format(rows: list[dict[str, Any]], kind: str, *, group: int = 1_000) -> bytes:
    """The rows as a file of a format; `group` is how many rows a part of it has."""
    file = io.BytesIO()
    if kind == "avro":
        import fastavro

        types = {str: "string", int: "long", float: "double"}
        fields = [{"name": name, "type": ["null", types[type(value)]]} for name, value in rows[0].items()]
        schema = fastavro.parse_schema({"type": "record", "name": "r", "fields": fields})
        fastavro.writer(file, schema, rows, sync_interval=2_000)
        return file.getvalue()
    if kind == "csv":
        return "\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows), ""]).encode()
    if kind == "jsonl":
        return b"".join(orjson.dumps(row) + b"\n" for row in rows)
    if kind == "json":
        return orjson.dumps(rows, option=orjson.OPT_INDENT_2)
    import pyarrow as pa

    table = pa.Table.from_pylist(rows)
    if kind == "parquet":
        import pyarrow.parquet as pq

        pq.write_table(table, file, row_group_size=group)
    elif kind == "orc":
        import pyarrow.orc as orc

        orc.write_table(table, file)
    else:
        opener = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
        with opener(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=group)
    return file.getvalue()
