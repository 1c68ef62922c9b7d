"""All scenarios of the market on several seeds, in processes: a table of what the law reaches, against its targets.

python -m tests.pacing --seeds 10 [--only normal,asap] [--policy law] [--jobs 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Final

from streams.market.figures import Figures
from streams.market.run import normal
from streams.market.scenario import Scenario
from streams.market.scenarios import SCENARIOS
from tests.pacing.playing import play
from tests.pacing.targets import TARGETS, VALUE_RATIO, missed, pooled

# On a normal day the law is also run with its multiplier held.
THROTTLE: Final = "normal, multiplier held"


def tasks(names: Sequence[str], seeds: Sequence[int], policy: str) -> Iterator[tuple[int, str, list[str], str]]:
    """Seed, policy, scenarios with one warm-up day, and the name of the result where it differs from theirs."""
    groups: dict[Scenario, list[str]] = {}
    for name in names:
        groups.setdefault(normal(SCENARIOS[name]), []).append(name)
    for seed in seeds:
        for group in groups.values():
            yield seed, policy, group, ""
        if "normal" in names and policy == "law":
            yield seed, "throttle", ["normal"], THROTTLE


def main(arguments: Sequence[str] | None = None) -> None:
    """Plays, says how far it is on standard error, and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.pacing")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--from", type=int, default=1, dest="first")
    parser.add_argument("--only", default=",".join(SCENARIOS))
    parser.add_argument("--policy", default="law")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json")
    asked = parser.parse_args(arguments)
    names, results = asked.only.split(","), dict[str, dict[int, Figures]]()
    began, done = time.monotonic(), 0
    work = list(tasks(names, range(asked.first, asked.first + asked.seeds), asked.policy))
    with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(play, seed, policy, group): label for seed, policy, group, label in work}
        for future in as_completed(running):
            for name, seed, found in future.result():
                results.setdefault(running[future] or name, {})[seed] = found
            done += 1
            if asked.json:  # at once: the rest may take long
                with open(asked.json, "w") as file:
                    named = {
                        name: {seed: each._asdict() for seed, each in runs.items()} for name, runs in results.items()
                    }
                    json.dump(named, file)
            sys.stderr.write(f"\r{done} of {len(work)} warm-up days, {time.monotonic() - began:.0f} s ")
            sys.stderr.flush()
    sys.stderr.write("\n")
    print("\n".join(table(results)))


def value_ratio(results: Mapping[str, Mapping[int, Figures]]) -> float:
    """Value on a normal day over that with the multiplier held, of the seeds that both have; infinite without any."""
    both = results.get("normal", {}).keys() & results.get(THROTTLE, {}).keys()
    held = sum(results[THROTTLE][seed].value for seed in both)
    return sum(results["normal"][seed].value for seed in both) / held if both else float("inf")


def table(results: Mapping[str, Mapping[int, Figures]]) -> Iterator[str]:
    """Markdown."""
    found = {name: pooled([*runs.values()]) for name, runs in results.items()}
    yield (
        "| scenario | feasible | within 2 % | 5 % | a click | worst over | RMSE | oracle's "
        "| value | told/s | on plan | missed |"
    )
    yield "| --- |" + " ---: |" * 10 + " --- |"
    for name in [*SCENARIOS, THROTTLE]:
        if name not in found:
            continue
        each = found[name]
        target = TARGETS.get(name)
        lines = missed(each, target) if target else []
        if name == "normal" and (ratio := value_ratio(results)) < VALUE_RATIO:
            lines.append(f"value {ratio:.2f} < {VALUE_RATIO}")
        back = f"{each.back:.3f}" if target is not None and target.back is not None else ""
        yield (
            f"| {name} | {each.feasible} | {each.within_2:.3f} | {each.within_5:.3f} | {each.within_click:.3f} | "
            f"{each.over:.2f} | {each.rmse:.3f} | {each.oracle_rmse:.3f} | {each.value:.2f} | "
            f"{each.told_per_s:.2f} | {back} | {'; '.join(lines)} |"
        )


if __name__ == "__main__":
    main()
