"""`reference/metrics.md`: the catalogue of metrics, by worker."""

from __future__ import annotations

from streams.cli.reference.markdown import code, codes, page, table
from streams.worker.metrics import CATALOGUE, LABELS, Declared


def metrics_page() -> str:
    """The page."""
    by_workers: dict[str, list[Declared]] = {}
    for row in CATALOGUE.values():
        by_workers.setdefault(row.workers, []).append(row)
    parts = []
    for workers, rows in by_workers.items():
        names = " and ".join(f"`{name}`" for name in workers.split(", "))
        parts.append(f"## Worker{'s' if ',' in workers else ''} {names}")
        head = ("metric", "type", "unit", "labels", "meaning")
        parts.append(
            table(head, ((code(row.exposed), row.kind, row.unit, codes(row.labels), row.help) for row in rows))
        )
    return page(
        "Metrics",
        "A worker with `--metrics-port` serves Prometheus metrics at `/metrics`, and `/livez` and `/readyz`, which "
        "answer 200 or 503. Counters start at 0 with the process, except `clickfold_ledger_total` and "
        "`clickfold_decisions_total`, which count from the first record of the run. A metric without unit is a state, "
        "0 or 1, or a share.",
        *parts,
        "## Labels",
        table(("label", "meaning"), ((code(name), text) for name, text in LABELS.items())),
    )
