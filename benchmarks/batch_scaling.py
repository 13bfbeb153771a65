"""Simulate a batch with many workers: where does the time go if the scheduler of ``retalkit batch`` runs M clips on N
workers?

    python benchmarks/batch_scaling.py --clips 10000 --workers 1 10 100 1000
    python benchmarks/batch_scaling.py --results jobs-results/results.json --clips 1000 --workers 10

The order of tasks is that of ``retalkit.batch.schedule.Schedule``. Time is simulated, and the costs of the steps are
those of real runs: the built-in costs, or the costs in the ``results.json`` of a batch. The driver's time per task is
measured on this machine with the real journal. Other parameters are assumptions, which options change.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from retalkit.batch.executor import Task
from retalkit.batch.journal import Journal
from retalkit.batch.schedule import Node, Schedule
from retalkit.storage.cache import Folder

ANALYSIS = ("faces", "tracks", "coefficients")
RECORDED = ((0.022, 0.113), (0.09, 0.172), (0.094, 0.31), (0.059, 0.1))
"""Seconds per frame of the analysis and of the other steps of four clips (700p, 590p, 1080 x 1920, 720p), recorded with
the default preset in a batch with two workers on two busy cores."""
_COMPUTED, _DIED, _ENDED = "computed", "died", "ended"
FRAMES = 250.0
"""Median number of frames per clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """Parameters of the simulation."""

    languages: int = 3
    """Jobs per clip."""
    spread: float = 0.6
    """Standard deviation of the logarithm of the clips' durations."""
    noise: float = 0.15
    """Standard deviation of the logarithm of a task's computation time."""
    slow_share: float = 0.005
    """Share of tasks that are stragglers."""
    slow_factor: float = 4.0
    """Factor of a straggler's computation time."""
    death_share: float = 0.0005
    """Share of tasks whose worker dies half-way."""
    start_seconds: float = 6.0
    """Time in which a worker starts and loads its stages."""
    bandwidth: float = 2000.0
    """Bandwidth of the shared storage in MB/s."""
    link: float = 100.0
    """Bandwidth of one worker's connection to the storage in MB/s."""
    read_mb: float = 0.03
    """Data that a task reads per frame of the clip in MB."""
    written_mb: float = 0.12
    """Data that a job with the default preset writes per frame in MB: output, cached segments and other results."""
    operations: int = 60
    """File operations per task."""
    operations_per_second: float = 50_000.0
    """File operations per second that the shared storage serves."""


DEFAULTS = Assumptions()


@dataclass(slots=True)
class Usage:
    """Sums over all workers in seconds."""

    work: float = 0.0
    """Computation without stragglers and repetitions."""
    stragglers: float = 0.0
    repeated: float = 0.0
    storage: float = 0.0
    """Transfers, including the time in the queue."""
    driver: float = 0.0
    """Waiting for the driver to handle an event."""
    starting: float = 0.0
    fan_out: float = 0.0
    """Idle because no task was ready, before the last clip was analysed."""
    tail: float = 0.0
    """Idle at the end, because the other workers execute the last tasks."""


@dataclass(slots=True)
class Result:
    """Result of one simulation."""

    workers: int
    makespan: float
    usage: Usage
    peak_clips: int
    """Largest number of clips that were analysed, but not finished. The cache must hold their results."""
    events: int = 0
    wall_seconds: float = 0.0


@dataclass(slots=True)
class _Server:
    """Resource that serves requests in order of arrival."""

    free: float = 0.0

    def serve(self, now: float, seconds: float) -> float:
        """Return the time at which a request that arrives at ``now`` is served."""
        self.free = max(self.free, now) + seconds
        return self.free


@dataclass(slots=True)
class _Work:
    """Simulated task."""

    compute: float
    frames: float
    is_analysis: bool


@dataclass(slots=True)
class _Cluster:
    assumed: Assumptions
    storage: _Server = field(default_factory=_Server)

    def transfer(self, now: float, megabytes: float) -> float:
        """Return the time at which a transfer that starts at ``now`` ends."""
        seconds = megabytes / self.assumed.bandwidth + self.assumed.operations / 2 / self.assumed.operations_per_second
        return max(self.storage.serve(now, seconds), now + megabytes / self.assumed.link)


def build(
    clips: int, costs: Sequence[tuple[float, float]], assumed: Assumptions, seed: int
) -> tuple[list[Node], dict[str, _Work]]:
    """Return the task graph of ``clips`` clips, and the simulated task of each node.

    ``costs``: seconds per frame of the analysis and of a job, for each recorded clip.
    """
    chance = random.Random(seed)
    task = Task(function="", payload={})
    nodes: list[Node] = []
    work: dict[str, _Work] = {}
    for number in range(clips):
        frames = FRAMES * chance.lognormvariate(0.0, assumed.spread)
        analysis, job = chance.choice(costs)
        clip = f"clip {number}"
        nodes.append(Node(key=clip, task=lambda: task, cost=analysis * frames, group=clip))
        work[clip] = _Work(analysis * frames, frames, True)
        for language in range(assumed.languages):
            key = f"{clip} {language}"
            nodes.append(Node(key=key, task=lambda: task, after=[clip], cost=job * frames, group=clip))
            work[key] = _Work(job * frames, frames, False)
    return nodes, work


def simulate(
    nodes: Sequence[Node], work: dict[str, _Work], workers: int, assumed: Assumptions, driver_seconds: float, seed: int
) -> Result:
    """Run the graph on ``workers`` workers. ``driver_seconds``: time of the driver per task."""
    began = time.perf_counter()
    chance = random.Random(seed)
    schedule = Schedule(nodes)
    cluster, driver, usage = _Cluster(assumed), _Server(), Usage()
    # Events: time, sequence, worker, node (None: the worker has started), and what happened.
    events: list[tuple[float, int, int, Node | None, str]] = []
    sequence = 0
    idle: list[tuple[float, int]] = []
    left = {node.group: 0 for node in nodes}
    for node in nodes:
        left[node.group] += 1
    sizes = dict(left)
    open_clips = peak = handled = 0
    last_analysis = now = 0.0
    for worker in range(workers):
        usage.starting += assumed.start_seconds
        heapq.heappush(events, (assumed.start_seconds, worker, worker, None, _ENDED))
    sequence = workers
    gaps: list[tuple[float, float]] = []

    def start(worker: int, since: float, at: float) -> bool:
        nonlocal sequence
        node = schedule.start()
        if node is None:
            return False
        if at > since:
            gaps.append((since, at))
        begin = driver.serve(at, driver_seconds)
        usage.driver += begin - at
        each = work[node.key]
        loaded = cluster.transfer(begin, each.frames * assumed.read_mb)
        usage.storage += loaded - begin
        factor = chance.lognormvariate(0.0, assumed.noise)
        if chance.random() < assumed.slow_share:
            factor *= assumed.slow_factor
        dies = chance.random() < assumed.death_share
        spent = each.compute * factor * (0.5 if dies else 1.0)
        end = loaded + spent
        if dies:
            usage.repeated += spent
            end += assumed.start_seconds
            usage.starting += assumed.start_seconds
        else:
            usage.work += each.compute
            usage.stragglers += spent - each.compute
        heapq.heappush(events, (end, sequence, worker, node, _DIED if dies else _COMPUTED))
        sequence += 1
        return True

    while events:
        now, _, worker, node, event = heapq.heappop(events)
        handled += 1
        if node is not None and event == _COMPUTED:
            written = 0.1 if work[node.key].is_analysis else 1.0
            stored = cluster.transfer(now, work[node.key].frames * assumed.written_mb * written)
            usage.storage += stored - now
            heapq.heappush(events, (stored, sequence, worker, node, _ENDED))
            sequence += 1
            continue
        if node is not None and event == _DIED:
            schedule.retry(node)
        elif node is not None:
            schedule.finish(node)
            if left[node.group] == sizes[node.group]:
                open_clips += 1
                peak = max(peak, open_clips)
                last_analysis = now
            left[node.group] -= 1
            if not left[node.group]:
                open_clips -= 1
        if not start(worker, now, now):
            heapq.heappush(idle, (now, worker))
        while idle and schedule.has_ready:
            since, waiting = heapq.heappop(idle)
            start(waiting, since, now)
    for since, until in [*gaps, *((since, now) for since, _ in idle)]:
        before = max(min(until, last_analysis) - since, 0.0)
        usage.fan_out += before
        usage.tail += until - since - before
    return Result(workers, now, usage, peak, handled, time.perf_counter() - began)


def measured_driver_seconds(jobs: int = 200) -> float:
    """Return the time that the driver needs per job on this machine: two lines of the journal and one record."""
    with TemporaryDirectory() as name:
        folder = Path(name) / "results"
        entry = {"seconds": 1.0, "gates": [{"gate": "drift", "verdict": "passed"}] * 4, "notes": ["note"] * 3}
        with Journal(folder) as journal:
            began = time.perf_counter()
            for number in range(jobs):
                output = Path(name) / f"{number}.mp4"
                journal.start(output, "key", [])
                with Folder(folder / "jobs").write(f"{number}.json") as path:
                    path.write_text(json.dumps(entry, indent=1), encoding="utf-8")
                journal.end(output, "key", "done", entry)
            return (time.perf_counter() - began) / jobs


def recorded_costs(path: Path) -> list[tuple[float, float]]:
    """Return the seconds per frame of the analysis and of the other steps of each job in a ``results.json``."""
    found: list[tuple[float, float]] = []
    for job in json.loads(path.read_text(encoding="utf-8"))["jobs"]:
        if "cost" in job:
            frames = job["frames_edited"] + sum(job["frames_passed"].values())
            analysis = sum(job["cost"].get(name, 0.0) for name in ANALYSIS)
            found.append((analysis / frames, (sum(job["cost"].values()) - analysis) / frames))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--languages", type=int, default=DEFAULTS.languages)
    parser.add_argument("--bandwidth", type=float, default=DEFAULTS.bandwidth, help="MB/s of the shared storage")
    parser.add_argument("--speed", type=float, default=1.0, help="speed of a worker relative to the recorded costs")
    parser.add_argument("--results", type=Path, help="results.json of a batch, for the costs of the steps")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    costs = list(RECORDED) if given.results is None else recorded_costs(given.results)
    costs = [(analysis / given.speed, job / given.speed) for analysis, job in costs]
    assumed = Assumptions(languages=given.languages, bandwidth=given.bandwidth)
    nodes, work = build(given.clips, costs, assumed, given.seed)
    driver_seconds = measured_driver_seconds()
    total = sum(each.compute for each in work.values())
    print(f"{given.clips} clips, {given.languages} jobs each, {total / 3600:.0f} h of work")
    analysis, job = (statistics.mean(values) for values in zip(*costs, strict=True))
    print(
        f"seconds per frame: {analysis:.3f} analysis, {job:.3f} per job; driver: {driver_seconds * 1e3:.1f} ms per task"
    )
    names = ("work", "stragglers", "repeated", "storage", "driver", "starting", "fan_out", "tail")
    print(
        "| workers | hours | efficiency | " + " | ".join(name.replace("_", "-") for name in names) + " | open clips |"
    )
    print("|---" * (len(names) + 4) + "|")
    for workers in given.workers:
        result = simulate(nodes, work, workers, assumed, driver_seconds, given.seed)
        whole = workers * result.makespan
        shares = " | ".join(f"{100 * getattr(result.usage, name) / whole:.1f} %" for name in names)
        efficiency = result.usage.work / whole
        print(
            f"| {workers} | {result.makespan / 3600:.2f} | {efficiency:.3f} | {shares} | {result.peak_clips} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
