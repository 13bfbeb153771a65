"""Measure the time per call of each published network in the configuration that Retalkit's stages use.

    python benchmarks/paper_networks.py [--threads 2] [--rounds 5] [--inference auto] [--only dnet lnet]

The weights are random, because the time does not depend on the weight values. The networks run alternately, so that
other load on the machine affects all networks equally. The script prints the median time over the rounds next to the
stored times of the published implementation. The stored times were measured earlier on an idle machine, so only their
order of magnitude is comparable.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

try:
    import torch
except ImportError:
    sys.exit("paper_networks.py: torch is not installed; run `make setup EXTRAS=paper`")
from retalkit.inference import CompiledNetwork, compile_network, empty_network
from retalkit.stages import Runtime
from retalkit_detectors.face_alignment.networks import S3FD, make_fan
from retalkit_enhancers.enet.network import ENet
from retalkit_enhancers.ganimation.generator import Generator
from retalkit_enhancers.gfpgan.network import Gfpgan
from retalkit_enhancers.gpen.network import Gpen
from retalkit_enhancers.parsing.network import ParseNet
from retalkit_reconstructors.deep3d.network import CoefficientNetwork
from retalkit_renderers.dnet.network import DNet
from retalkit_renderers.lnet.network import LNet
from retalkit_renderers.wav2lip.network import Wav2LipGenerator
from torch import Tensor, nn


@dataclass(slots=True)
class Case:
    """Benchmark case, which forms one table row."""

    name: str
    make: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    """Input shapes."""
    published: str = ""
    """Time per call of the published implementation in milliseconds: median for float32, 2 threads and batch size 1."""
    initialised: bool = False
    """Whether the constructor's weights are used, because the layers scale their weights themselves."""
    wall: list[float] = field(default_factory=list[float])
    cpu: list[float] = field(default_factory=list[float])

    def network(self) -> nn.Module:
        """Return the network in evaluation mode with random weights."""
        if self.initialised:
            network = self.make()
        else:
            network = empty_network(self.make)
            fill(network)
        return network.eval().requires_grad_(False)

    def inputs(self) -> list[Tensor]:
        """Return random input tensors."""
        return [torch.rand(shape) * 2 - 1 for shape in self.shapes]


class EnetEncoder(nn.Module):
    """E-Net's identity encoder, which runs once per reference face."""

    def __init__(self) -> None:
        super().__init__()
        self.network = ENet()

    def forward(self, reference: Tensor) -> Tensor:
        return self.network.encode(reference)


class EnetDecoder(nn.Module):
    """E-Net's decoder without noise."""

    def __init__(self) -> None:
        super().__init__()
        self.network = ENet()

    def forward(self, low: Tensor, code: Tensor) -> Tensor:
        return self.network.decode(low, code)


FACE = ((1, 3, 512, 512),)
CASES = (
    Case("s3fd", S3FD, ((1, 3, 720, 1280),), "4650"),
    Case("s3fd, downscaled", S3FD, ((1, 3, 360, 640),)),
    Case("fan", make_fan, ((1, 3, 256, 256),), "420"),
    Case("face3d", CoefficientNetwork, ((1, 3, 224, 224),), "94 to 117"),
    Case("dnet", DNet, ((1, 3, 256, 256), (1, 73, 26)), "1110 to 1210"),
    Case("lnet", LNet, ((1, 1, 80, 16), (1, 6, 96, 96)), "670 to 870"),
    Case("wav2lip", Wav2LipGenerator, ((1, 1, 80, 16), (1, 6, 96, 96))),
    # The published E-Net contains L-Net and takes 3250 ms in total. This value is the time of E-Net's encoder and
    # decoder without L-Net.
    Case("enet, encoder", EnetEncoder, ((1, 3, 384, 384),), "2380 to 2580"),
    Case("enet, decoder", EnetDecoder, ((1, 3, 96, 96), (1, 512)), "(including the encoder)"),
    Case("ganimation", Generator, ((1, 3, 128, 128), (1, 17)), "186"),
    Case("gpen", Gpen, FACE, "4860", initialised=True),
    Case("gfpgan", Gfpgan, FACE, "3610 to 3840"),
    Case("parsenet", ParseNet, FACE, "4310"),
)
PER_FRAME = ("s3fd, downscaled", "fan", "face3d", "dnet", "lnet", "enet, encoder", "enet, decoder")
"""Networks that the preset ``paper`` runs once for each 720 x 1280 frame with a face, in addition to the restoration
networks.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--inference", choices=("auto", "torch", "openvino"), default="auto")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    cases = selected(options.only)
    runtime = Runtime(inference=options.inference, threads=options.threads)
    print(f"{runtime.backend}, {machine(options.threads)}, batch 1, float32; {load()} before")
    print(f"{'network':<20}{'ms':>8}{'CPU-ms':>8}  ms, published (measured earlier)")
    measure(cases, runtime, options.rounds)
    for case in cases:
        times = f"{statistics.median(case.wall):>8.0f}{statistics.median(case.cpu):>8.0f}"
        print(f"{case.name:<20}{times}  {case.published}")
    medians = {case.name: statistics.median(case.wall) for case in cases}
    if all(name in medians for name in PER_FRAME):
        print(f"paper preset, one frame: {sum(medians[name] for name in PER_FRAME) / 1000:.1f} s")
    print(f"{load()} after")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help="run only benchmarks whose names start with one of these prefixes (default: all)",
    )


def selected(names: Sequence[str] | None) -> list[Case]:
    return [case for case in CASES if not names or case.name.startswith(tuple(names))]


def measure(cases: Sequence[Case], runtime: Runtime, rounds: int) -> None:
    """Measure the time per call. Each round runs all networks in turn, and the first round is a warm-up."""
    calls: list[tuple[Case, CompiledNetwork, list[Tensor]]] = []
    for case in cases:
        inputs = case.inputs()
        calls.append((case, compile_network(case.network(), inputs, runtime), inputs))
    for turn in range(rounds + 1):
        for case, network, inputs in calls:
            wall, cpu = time.perf_counter(), time.process_time()
            network(*inputs)
            if turn:
                case.wall.append((time.perf_counter() - wall) * 1000)
                case.cpu.append((time.process_time() - cpu) * 1000)


def fill(network: nn.Module) -> None:
    """Initialise the network with random weights that keep activations at a normal scale, because denormal numbers are
    slow.
    """
    state = network.state_dict()
    with torch.no_grad():
        for name, value in state.items():
            last = name.rpartition(".")[2]
            if not value.is_floating_point():
                value.zero_()
            elif last == "kernel":  # low-pass filters
                value.fill_(1 / 16)
            elif last in ("weight_u", "weight_v"):
                value.copy_(nn.functional.normalize(torch.randn(value.shape), dim=0))
            elif value.dim() > 1:
                value.copy_(torch.randn(value.shape) / max(1, value[0].numel()) ** 0.5)
            else:
                value.fill_(1 if last in ("weight", "running_var") else 0)
        for name in [name for name in state if name.endswith("weight_v")]:
            # Spectral normalisation requires an estimate close to the largest singular value.
            base = name.removesuffix("weight_v")
            weight = state[base + "weight_orig"].flatten(1)
            state[name].copy_(nn.functional.normalize(weight.T @ state[base + "weight_u"], dim=0))


def machine(threads: int) -> str:
    return f"torch {torch.__version__}, {threads} of {os.cpu_count()} CPU threads"


def load() -> str:
    return f"system load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "system load unknown"


if __name__ == "__main__":
    main()
