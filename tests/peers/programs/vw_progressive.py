"""Vowpal Wabbit over a file of rows: predicts each, then learns it, at once or when its label is due.

usage: vw_progressive.py JOB, a file of JSON: `rows` and `times`, paths of a text of rows and of their ts, a line each;
`delay_ms`; `settings`, a list of command lines; `folder`, where the predictions of setting i are written as `i`. Prints
a line of JSON for each setting: its number and its seconds.
"""

import json
import sys
import time
from pathlib import Path

import vowpalwabbit

ALWAYS = "--quiet --loss_function logistic --link logistic "


def at_once(rows, arguments, to):
    vowpalwabbit.Workspace(f"{ALWAYS} --no_stdin -d {rows} -p {to} {arguments}").finish()


def late(rows, times, delay_ms, arguments, to):
    model = vowpalwabbit.Workspace(ALWAYS + arguments)
    learned = 0
    with open(to, "w") as written:
        for row, ts in zip(rows, times):
            while times[learned] + delay_ms <= ts:
                model.learn(rows[learned])
                learned += 1
            # Without label and weight.
            written.write(f"{model.predict(row[row.index('|'):])}\n")
    model.finish()


job = json.loads(Path(sys.argv[1]).read_text())
rows = Path(job["rows"]).read_text().splitlines()
times = [int(line) for line in Path(job["times"]).read_text().splitlines()]
for number, arguments in enumerate(job["settings"]):
    to = f"{job['folder']}/{number}"
    started = time.perf_counter()
    if job["delay_ms"]:
        late(rows, times, job["delay_ms"], arguments, to)
    else:
        at_once(job["rows"], arguments, to)
    print(json.dumps({"setting": number, "seconds": time.perf_counter() - started}), flush=True)
