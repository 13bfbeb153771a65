"""Measure the duration, CPU time and peak memory of the complete ``retalkit dub`` command, and compare the duration
with a lower bound, the *floor*: decoding, face tracking and encoding, one after the other.

    python benchmarks/dub_speed.py VIDEO SPEECH [--runs 3] [--against CHECKOUT]
    python benchmarks/dub_speed.py --media FOLDER [--only talk_man] [--seconds 57] [--profile]
    python benchmarks/dub_speed.py --media FOLDER --against CHECKOUT

With VIDEO and SPEECH, the benchmark also prints a profile of one run: wall-clock and CPU seconds of each step, and CPU
seconds of each thread and function. With ``--media``, it measures the clips in the directory, their loops of 60 s and
scaled versions with speech of 5, 9.6 and 57 s, and prints one table row for each. ``benchmark_clips.py --help`` lists
the files that the directory must contain. Use VIDEO and SPEECH for other clips.

A profile lists child processes with their CPU time only, so use ``--dub-options="--processes 1"`` to profile the
functions of a long output.

``--against`` also measures another checkout in the same environment. The runs of both checkouts alternate, and each
round reverses their order. The floor of this checkout is used for both. Each run is a new process with an empty cache.
An uncounted run of each checkout writes the bytecode of the imported modules. The benchmark requires Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Heavy packages must not be imported here: the peak memory of a child process includes the memory of this process.
from profiled_command import BETWEEN, END, OWN, START, descendants

HERE = Path(__file__).resolve().parent
EXIT = "exit"
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Run:
    """Measurements of one command."""

    wall: float
    """Wall-clock time in seconds from the start of the process to its end."""
    cpu: float
    """CPU time in seconds of the process and its child processes."""
    peak: float
    """Largest resident memory in bytes of the process and its child processes at one time."""


@dataclass(slots=True)
class Case:
    """Row of the table."""

    name: str
    video: Path
    speech: Path
    seconds: float = 0.0
    """Duration of the output."""
    options: Sequence[str] = ()
    """Further options of ``retalkit dub``."""
    runs: dict[Path, list[Run]] = field(default_factory=dict[Path, list[Run]])
    """Mapping from checkout to runs."""
    floors: list[dict[str, float]] = field(default_factory=list[dict[str, float]])

    def wall(self, checkout: Path) -> float:
        return self.median(checkout, lambda run: run.wall)

    def median(self, checkout: Path, value: Callable[[Run], float]) -> float:
        return statistics.median(value(run) for run in self.runs[checkout])

    @property
    def floor(self) -> dict[str, float]:
        return {part: statistics.median(each[part] for each in self.floors) for part in self.floors[0]}


def environment(checkout: Path) -> dict[str, str]:
    """Return the environment in which Python imports the packages of a checkout."""
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))
    folders = project["tool"]["hatch"]["build"]["dev-mode-dirs"]
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "PYTHONPATH": os.pathsep.join(str(checkout / folder) for folder in folders)}


def run_process(command: Sequence[object], checkout: Path) -> Run:
    """Run a command and measure the process. Raises CalledProcessError if the command fails."""
    words = [str(word) for word in command]
    start = time.perf_counter()
    process = subprocess.Popen(words, env=environment(checkout))
    ended, sampled = threading.Event(), [0]

    def sample() -> None:
        while not ended.wait(0.05):
            sampled[0] = max(sampled[0], sum(map(resident_bytes, [process.pid, *descendants(process.pid)])))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        _, status, used = os.wait4(process.pid, 0)
    finally:
        ended.set()
        sampler.join()
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return Run(wall, used.ru_utime + used.ru_stime, max(sampled[0], used.ru_maxrss * 1024))


def resident_bytes(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def dub(case: Case, checkout: Path, folder: Path, program: Sequence[object] = ("-m", "retalkit")) -> Run:
    """Dub the clip with an empty cache and return the measurements."""
    output, cache = folder / "out.mp4", folder / "cache"
    words = ["dub", case.video, case.speech, "-o", output, "--cache", cache, "--quiet", "--force", *case.options]
    run = run_process([sys.executable, *program, *words], checkout)
    case.seconds = json.loads(output.with_name(output.name + ".json").read_text())["output_seconds"]
    shutil.rmtree(cache)
    return run


def floor(case: Case, checkout: Path) -> dict[str, float]:
    """Return the seconds of each part of the floor."""
    command = [sys.executable, str(HERE / "dub_floor.py"), str(case.video), str(case.speech)]
    done = subprocess.run(command, env=environment(checkout), check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(case: Case, checkouts: Sequence[Path], rounds: int, folder: Path) -> None:
    """Measure the case with each checkout and its floor in every round."""
    case.runs = {checkout: [] for checkout in checkouts}
    for number in range(rounds):
        for checkout in checkouts if number % 2 == 0 else reversed(checkouts):
            case.runs[checkout].append(dub(case, checkout, folder))
        case.floors.append(floor(case, checkouts[-1]))


def head(compared: bool) -> str:
    """Return the first two lines of the table."""
    names = ["clip : speech", *(["before, s"] if compared else []), "command, s", "x real time", "floor, s"]
    names += ["command / floor", "CPU, s", "peak, MiB"]
    if compared:
        names += ["command / before", "before / floor", "CPU before, s", "peak before, MiB"]
    return f"| {' | '.join(names)} |\n|{'---|' * len(names)}"


def row(case: Case, checkout: Path, before: Path | None) -> str:
    """Return the table row of a case."""
    wall, total = case.wall(checkout), sum(case.floor.values())
    cells = [case.name, *([f"{case.wall(before):.2f}"] if before else []), f"{wall:.2f}", f"{case.seconds / wall:.2f}"]
    cells += [f"{total:.2f}", f"{wall / total:.2f}", *cpu_and_peak(case, checkout)]
    if before:
        cells += [f"{wall / case.wall(before):.2f}", f"{case.wall(before) / total:.2f}", *cpu_and_peak(case, before)]
    return f"| {' | '.join(cells)} |"


def cpu_and_peak(case: Case, checkout: Path) -> list[str]:
    cpu, peak = case.median(checkout, lambda run: run.cpu), case.median(checkout, lambda run: run.peak)
    return [f"{cpu:.1f}", f"{peak / MIB:.0f}"]


def print_profile(case: Case, checkout: Path, folder: Path) -> None:
    """Dub the clip once with the profiler, and print the steps, threads and functions."""
    target = folder / "profile.json"
    started = time.monotonic()
    dub(case, checkout, folder, [HERE / "profiled_command.py", target, started])
    stopped = time.monotonic()
    profile = json.loads(target.read_text())
    print(f"\nProfile of {case.name}: {stopped - started:.2f} s\n")
    print(steps_table(profile, stopped))
    print()
    print(threads_table(profile))
    print()
    print(functions_table(profile))
    parts = ", ".join(f"{part} {seconds:.2f} s" for part, seconds in case.floor.items())
    print(f"\nfloor: {parts}", flush=True)


def steps_table(profile: dict[str, Any], stopped: float) -> str:
    """Return the table of the steps, with the CPU time of the whole process during each step of the main thread."""
    cpu = {
        phase: sum(used for name, used in threads.items() if name != OWN) for phase, threads in profile["cpu"].items()
    }
    steps = sorted(profile["steps"], key=lambda step: step["start"])
    main = [step for step in steps if step["main"]]
    first, last = (main[0]["start"], main[-1]["stop"]) if main else (profile["ended"], profile["ended"])
    lines = ["| step | from, s | wall, s | CPU, s | thread |", "|---|---|---|---|---|"]

    def add(name: str, start: float, stop: float, used: float | None, thread: str = "MainThread") -> None:
        value = "" if used is None else f"{used:.2f}"
        lines.append(f"| {name} | {start - profile['started']:.2f} | {stop - start:.2f} | {value} | {thread} |")

    add(START, profile["started"], first, cpu.get(START, 0.0))
    seen: set[str] = set()
    for step in steps:
        repeated = not step["main"] or step["name"] in seen
        used = None if repeated else cpu.get(step["name"], 0.0)
        add(step["name"], step["start"], step["stop"], used, step["thread"])
        seen |= {step["name"]} if step["main"] else set()
    between = last - first - sum(step["stop"] - step["start"] for step in main)
    lines.append(f"| {BETWEEN} steps | | {between:.2f} | {cpu.get(BETWEEN, 0.0):.2f} | MainThread |")
    add(END, last, profile["ended"], cpu.get(END, 0.0))
    add(EXIT, profile["ended"], stopped, None)
    return "\n".join(lines)


def threads_table(profile: dict[str, Any]) -> str:
    """Return the table of CPU seconds of each thread in each step of the main thread."""
    phases = [phase for phase, threads in profile["cpu"].items() if sum(threads.values()) >= 0.005]
    totals: dict[str, float] = {}
    for threads in profile["cpu"].values():
        for name, used in threads.items():
            totals[name] = totals.get(name, 0.0) + used
    lines = [f"| thread, CPU s | {' | '.join(phases)} | total |", "|---" * (len(phases) + 2) + "|"]
    for name, total in sorted(totals.items(), key=lambda item: (item[0] == OWN, -item[1])):
        if total >= 0.005:
            cells = [f"{profile['cpu'][phase].get(name, 0.0):.2f}" for phase in phases]
            lines.append(f"| {name} | {' | '.join(cells)} | {total:.2f} |")
    return "\n".join(lines)


def functions_table(profile: dict[str, Any], count: int = 20) -> str:
    """Return the table of the functions with the most CPU time."""
    found = [(used, name, function) for name, each in profile["functions"].items() for function, used in each.items()]
    lines = ["| thread | innermost function of Retalkit | CPU, s |", "|---|---|---|"]
    for used, name, function in sorted(found, reverse=True)[:count]:
        lines.append(f"| {name} | {function} | {used:.2f} |")
    return "\n".join(lines)


def table_cases(folder: Path, seconds: Sequence[float] | None, only: Sequence[str]) -> list[Case]:
    """Return the cases of the table. Loops are measured with the longest speech."""
    sounds = {float(path.stem[7:-1]): path for path in folder.glob("speech_*s.wav")}
    chosen = sorted(seconds or sounds)
    cases: list[Case] = []
    for video in sorted(folder.glob("*.mp4")):
        durations = chosen[-1:] if video.stem.endswith("_60s") else chosen
        cases += [Case(f"{video.stem} : {each:g} s", video, sounds[each]) for each in durations]
    return [case for case in cases if not only or any(word in case.name for word in only)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("speech", type=Path, nargs="?")
    parser.add_argument(
        "--media", type=Path, help="directory with the clips that benchmark_clips.py lists; measures the table"
    )
    parser.add_argument("--seconds", type=float, nargs="+", help="durations of the speech: 5, 9.6 or 57 (default: all)")
    parser.add_argument("--only", nargs="+", default=[], help="measure only the rows whose names contain a word")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="other checkout, measured as *before*")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=1, help="uncounted runs of each checkout (default: %(default)s)")
    parser.add_argument("--dub-options", default="", metavar="OPTIONS", help="such as --dub-options='--processes 1'")
    parser.add_argument("--profile", action="store_true", help="print a profile of each row of the table")
    options = parser.parse_args(arguments)
    if (options.media is None) == (options.speech is None):
        parser.error("pass either VIDEO and SPEECH, or --media FOLDER")
    own = HERE.parent
    before = None if options.against is None else options.against.resolve()
    checkouts = [own] if before is None else [before, own]
    with tempfile.TemporaryDirectory(prefix="retalkit-speed-") as name:
        folder = Path(name)
        if options.media is None:
            cases = [Case(f"{options.video.stem} : {options.speech.stem}", options.video, options.speech)]
        else:
            clips = folder / "clips"
            clips.mkdir()
            # A process of its own, because this process must remain small.
            script = [sys.executable, HERE / "benchmark_clips.py", options.media, clips]
            done = subprocess.run([str(word) for word in script], env=environment(own), check=False)
            if done.returncode:
                sys.exit(done.returncode)
            cases = table_cases(clips, options.seconds, options.only)
        for case in cases:
            case.options = shlex.split(options.dub_options)
        for checkout in checkouts * options.warm_up if cases else ():
            dub(cases[0], checkout, folder)
        print(
            f"{os.cpu_count()} CPU cores, system load {os.getloadavg()[0]:.1f} before, medians of {options.runs} runs\n"
        )
        print(head(before is not None), flush=True)
        for case in cases:
            measure(case, checkouts, options.runs, folder)
            print(row(case, own, before), flush=True)
        for case in cases if options.profile or options.media is None else ():
            print_profile(case, own, folder)
        print(f"\nsystem load {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
