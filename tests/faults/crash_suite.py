"""All crash points: `make test-faults`, or part of them with ARGS='--shard 1/4', '--runs 300', '--minutes 30'.

Strikes at messages between the installed command and a server of its own, and asks the oracle. Each result is a line of
the results file; what stands there is not done again.
"""

from __future__ import annotations

import argparse
import queue
import re
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from crash_ground import own_site
from crash_points import both, read_census, shard
from crash_run import Point, Result, census, read_results, strike_at

RUNS = 2400
RESULTS = Path(".faults/crash-points.jsonl")


class Work:
    """What the workers share: the points that are left, the file, and when to stop."""

    def __init__(self, points: tuple[Point, ...], results: Path, minutes: float) -> None:
        self._left: queue.SimpleQueue[Point] = queue.SimpleQueue()
        for point in points:
            self._left.put(point)
        self._results, self._lock = results, threading.Lock()
        self._deadline = time.monotonic() + 60 * minutes if minutes else None
        self.done = 0

    def next(self) -> Point | None:
        """The next point, None when there is none or the time is over."""
        if self._deadline is not None and time.monotonic() > self._deadline:
            return None
        try:
            return self._left.get_nowait()
        except queue.Empty:
            return None

    def note(self, result: Result) -> None:
        """Append a result to the file, and tell what is wrong with it."""
        with self._lock, self._results.open("a") as file:
            file.write(result.line() + "\n")
            self.done += 1
            for sentence in result.wrong:
                say(f"WRONG {result.point} ({result.about}): {sentence.splitlines()[0][:200]}")
            if self.done % 25 == 0:
                say(f"{self.done} done, {self._left.qsize()} left")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def work_off(work: Work, folder: Path) -> None:
    """One worker: a server of its own, point after point."""
    with own_site(folder) as site:
        while (point := work.next()) is not None:
            with tempfile.TemporaryDirectory(prefix="crash-", dir=folder) as place:
                work.note(strike_at(site, point, Path(place)))


def points_of(runs: int, folder: Path) -> tuple[Point, ...]:
    """The points, from a census on a server that is gone afterwards."""
    with own_site(folder) as site:
        seen = {}
        for name in ("small", "shipped"):
            (folder / f"census-{name}").mkdir()
            seen[name] = read_census(name, census(site, site.ground(name), folder / f"census-{name}"))
    return both(seen["small"], seen["shipped"], runs)


def summary(results: list[dict[str, Any]]) -> list[str]:
    """What the results come to."""
    if not results:
        return ["no runs"]
    struck = [result for result in results if result["struck"]]
    stood = Counter(result["oracle"].partition(":")[0] for result in results)
    codes = Counter(int(result["code"]) for result in results)
    seconds = [float(result["seconds"]) for result in results]
    disagree = sum(any("the oracle" in sentence for sentence in result["wrong"]) for result in results)
    return [
        f"runs               {len(results)}, of which {len(struck)} were struck",
        f"stood after it     old {stood['old']}, new {stood['new']}",
        f"mixed              {stood['mixed']}",
        f"in doubt (exit 12) {codes[12]}",
        f"disagreements      {disagree}",
        f"otherwise wrong    {sum(bool(result['wrong']) for result in results) - disagree}",
        f"left for recover   {sum(bool(result['left']) for result in results)}",
        f"exit codes         {', '.join(f'{code}: {count}' for code, count in sorted(codes.items()))}",
        f"seconds a run      {statistics.mean(seconds):.1f}, median {statistics.median(seconds):.1f}",
    ]


def _hear_signals() -> None:
    """Under nohup and in the background these are ignored, and the tools that are to be struck by them would inherit it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shard", default="1/1", help="part/parts, for several machines")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"how many points there are, {RUNS} by default")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=0, help="begin no point after so long")
    parser.add_argument("--only", default="", help="points whose name this regular expression finds")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--list", action="store_true", help="only list the points")
    return parser.parse_args()


def main() -> int:
    """Exit code 0 when every run was as it must be."""
    typed = arguments()
    _hear_signals()
    part, parts = map(int, typed.shard.split("/"))
    typed.results.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lkcrash-", dir="/tmp") as made:
        folder = Path(made)
        chosen = shard(points_of(typed.runs, folder), part, parts)
        chosen = tuple(point for point in chosen if re.search(typed.only, point.name))
        if typed.list:
            say("\n".join(f"{point.name}  {point.about}" for point in chosen))
            return 0
        known = read_results(typed.results)
        work = Work(tuple(point for point in chosen if point.name not in known), typed.results, typed.minutes)
        say(f"{len(chosen)} points, {sum(point.name in known for point in chosen)} of them done before")
        workers = []
        for number in range(typed.workers):
            (folder / f"worker-{number}").mkdir()
            workers.append(threading.Thread(target=work_off, args=(work, folder / f"worker-{number}")))
            workers[-1].start()
        for worker in workers:
            worker.join()
    found = read_results(typed.results)
    results = [found[point.name] for point in chosen if point.name in found]
    say("\n".join(summary(results)))
    return int(any(result["wrong"] for result in results) or len(results) < len(chosen))


if __name__ == "__main__":
    sys.exit(main())
