"""`reference/queries.md`: named queries with how to read them and a sample answer, from their own files."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.clickhouse.queries import Query, queries
from streams.cli.reference.markdown import code, codes, fence, page, table
from streams.cli.render.explanations import option_of, sample_of


def queries_page() -> str:
    """The page."""
    found = queries().values()
    return page(
        "Named queries",
        "`clickfold query NAME` asks one, `clickfold query NAME --explain` prints what stands here. Parameters have "
        "defaults. Sample answers are those of a small fixed world; a test compares each with a live answer.",
        table(("query", "answers"), ((f"[`{each.name}`](#{each.name})", each.text) for each in found)),
        *(part for each in found for part in _parts(each)),
    )


def _parts(query: Query) -> Iterator[str]:
    yield f"## {query.name}"
    yield query.text
    if query.notes:
        yield " ".join(query.notes)
    if query.parameters:
        yield table(
            ("parameter", "type", "default", "meaning"),
            ((code(option_of(each)), code(each.type), code(each.default), each.text) for each in query.parameters),
        )
    if query.chart:
        drawn = codes(query.chart.columns)
        yield f"Chart (`--format chart`), {query.chart.kind}: {query.chart.text}; it draws {drawn}."
    sample = sample_of(query.name)
    if sample:
        yield fence(sample)
