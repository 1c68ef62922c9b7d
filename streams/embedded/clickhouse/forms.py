"""Multipart forms: fields as further parameters of a request, files as external tables."""

from email.message import Message
from email.parser import BytesHeaderParser
from typing import Final

from streams.embedded.clickhouse import wire
from streams.embedded.clickhouse.codes import Code
from streams.embedded.clickhouse.sql import sql_text

# Each file is a table that is made and filled before the statement runs.
MAX_FILES: Final = 100


def form_parts(body: bytes, content_type: str) -> tuple[dict[str, str], dict[str, bytes]]:
    """Fields and files by their names. Raises BodyError 400 for a form that is cut off, or has too many files."""
    outer = Message()
    outer["Content-Type"] = content_type
    boundary = outer.get_boundary()
    if not boundary:
        raise wire.BodyError(400, "The Content-Type of a form must name its boundary.", code=Code.BAD_ARGUMENTS)
    # Not by the parser of the standard library: it takes a file apart by lines, and several times its memory.
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if not parts or not parts[-1].startswith(b"--"):
        raise wire.BodyError(400, "The form ends before its last boundary.", code=Code.CANNOT_READ_ALL_DATA)
    fields: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for part in parts[:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        headers = BytesHeaderParser().parsebytes(head.lstrip(b"\r\n"))
        name = str(headers.get_param("name", "", header="content-disposition"))
        if headers.get_filename() is None:
            fields[name] = sql_text(content)
        else:
            files[name] = content
    if len(files) > MAX_FILES:
        text = f"The form has {len(files)} files; at most {MAX_FILES} are external tables."
        raise wire.BodyError(400, text, code=Code.BAD_ARGUMENTS)
    return fields, files
