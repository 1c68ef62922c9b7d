"""SQL as text, of any bytes: those that are no UTF-8 are kept as surrogates, because ClickHouse's strings are bytes."""


def sql_bytes(sql: str) -> bytes:
    """The SQL as the client sent it."""
    return sql.encode("utf-8", errors="surrogateescape")


def sql_text(sent: bytes) -> str:
    """SQL as text from which `sql_bytes` makes the same bytes."""
    return sent.decode("utf-8", errors="surrogateescape")
