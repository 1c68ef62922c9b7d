"""`clickfold fold`: the join over two files, no broker."""


def fold() -> None:
    """Fold two JSONL files as one partition."""
