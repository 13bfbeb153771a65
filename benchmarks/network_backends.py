"""Compare three CPU inference backends for each published network: PyTorch eager, torch.compile and OpenVINO.

    python benchmarks/network_backends.py [--threads 2] [--rounds 5] [--no-compile] [--only dnet lnet]

The backends run alternately in one process. For each backend, the script prints the median time over the rounds in
milliseconds, the network's preparation time in seconds, and the largest difference from PyTorch eager relative to the
output's standard deviation. ``torch.compile`` requires a C++ compiler and takes up to two minutes per network.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from unittest.mock import patch

import torch
from paper_networks import Case, add_options, load, machine, selected
from retalkit.inference import compile_network
from retalkit.inference.execution import computing, flatten
from retalkit.stages import Runtime
from torch import Tensor

Call = Callable[[], Tensor]
"""Function that runs a network and returns the network's first output."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--no-compile", action="store_true", help="skip the torch.compile backend")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    ways: dict[str, Callable[[Case, list[Tensor]], Call]] = {"eager": eager, "openvino": openvino}
    if not options.no_compile:
        ways["compile"] = compiled
    print(f"{machine(options.threads)}, batch 1, float32; {load()} before")
    print(f"{'network':<20}" + "".join(f"{way + ' ms':>12}{'prepare s':>11}{'difference':>12}" for way in ways))
    for case in selected(options.only):
        print(f"{case.name:<20}{row(case, ways, options.rounds)}", flush=True)
    print(f"{load()} after")


def row(case: Case, ways: dict[str, Callable[[Case, list[Tensor]], Call]], rounds: int) -> str:
    """Return the formatted table row of one network."""
    inputs = case.inputs()
    state = torch.get_rng_state()
    calls: dict[str, Call] = {}
    prepared: dict[str, float] = {}
    for way, make in ways.items():
        torch.set_rng_state(state)  # All backends use identical weights.
        start = time.perf_counter()
        calls[way] = make(case, inputs)
        outputs = calls[way]()
        prepared[way] = time.perf_counter() - start
        del outputs
    expected = calls["eager"]()
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, call in calls.items():
            start = time.perf_counter()
            call()
            times[way].append((time.perf_counter() - start) * 1000)
    columns = ""
    for way, call in calls.items():
        difference = float((call() - expected).abs().max() / expected.std())
        columns += f"{statistics.median(times[way]):>12.0f}{prepared[way]:>11.1f}{difference:>12.1e}"
    return columns


def eager(case: Case, inputs: list[Tensor]) -> Call:
    network = compile_network(case.network(), inputs, Runtime(inference="torch"))
    return lambda: network(*inputs)[0]


def compiled(case: Case, inputs: list[Tensor]) -> Call:
    torch.compiler.reset()
    network = torch.compile(case.network())

    def call() -> Tensor:
        with computing("cpu", "float32"):
            return flatten(network(*inputs))[0]

    return call


def openvino(case: Case, inputs: list[Tensor]) -> Call:
    """Convert the network to OpenVINO without reusing a model that an earlier run stored."""
    runtime = Runtime(inference="openvino", threads=torch.get_num_threads())
    with tempfile.TemporaryDirectory() as folder, patch.dict("os.environ", RETALKIT_HOME=folder):
        network = compile_network(case.network(), inputs, runtime)
    return lambda: network(*inputs)[0]


if __name__ == "__main__":
    main()
