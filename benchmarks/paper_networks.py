"""Times one call of each published network, as our stages run it, beside the published implementation's saved times.

Weights are random: time does not depend on them. All networks take turns, so that other work on the machine falls on
all of them alike; the median of the rounds counts. On a busy machine CPU-ms with --threads 1 are the steadiest.

    python benchmarks/paper_networks.py [--threads 2] [--rounds 5] [--only dnet lnet]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from retalkit.inference import computing, load_weights
from retalkit_detectors.face_alignment import networks as face_alignment
from retalkit_enhancers.enet.network import ENet
from retalkit_enhancers.ganimation.generator import Generator
from retalkit_enhancers.gfpgan.network import Gfpgan
from retalkit_enhancers.gpen.network import Gpen
from retalkit_enhancers.parsing.network import ParseNet
from retalkit_enhancers.parsing.quick import QuickParseNet
from retalkit_reconstructors.deep3d.network import CoefficientNetwork, fold_normalisations
from retalkit_renderers.dnet.network import DNet
from retalkit_renderers.lnet.folding import fold
from retalkit_renderers.lnet.network import LNet
from safetensors.torch import save_file
from torch import nn

Call = Callable[[], object]
Weights = Callable[[nn.Module], Path]
"""Fills a network with random weights and gives the file that holds them."""

PUBLISHED = {
    "dnet": "1110 to 1210",
    "lnet": "670 to 870",
    "enet": "2380 to 2580",
    "face3d": "94 to 117",
    "ganimation": "186",
    "gpen": "4860",
    "gfpgan": "3610 to 3840",
    "parsenet": "4310",
    "s3fd": "4650",
    "fan": "420",
}
"""Milliseconds a call of the published implementation: float32, 2 threads, batch 1, median, on an otherwise idle
machine. Figures of ANOTHER run than the one that is printed beside them; on another or a busy machine only their order
of size compares. Published E-Net runs L-Net inside, 3250 together: the row is what remains without L-Net's."""


@dataclass(slots=True)
class Case:
    """One row of the table."""

    name: str
    size: str
    make: Callable[[Weights], Call]
    """Loads the network as its stage does and gives one call of it."""
    published: str = ""
    wall: list[float] = field(default_factory=list[float])
    processor: list[float] = field(default_factory=list[float])


def dnet(weights: Weights) -> Call:
    network = load_weights(DNet(), weights(DNet()))
    image, coefficients = torch.rand(1, 3, 256, 256) * 2 - 1, torch.randn(1, 73, 26)
    return lambda: network(image, coefficients)


def lnet(weights: Weights) -> Call:
    network = fold(load_weights(LNet(), weights(LNet())), processor=True)
    speech, faces = torch.randn(1, 1, 80, 16), torch.rand(1, 6, 96, 96)
    return lambda: network(speech, faces)


def enet(weights: Weights) -> Call:
    """With a new reference face, that is with the identity encoder, as where every frame has its own."""
    network = load_weights(ENet(), weights(ENet())).arrange()
    low, reference = torch.rand(1, 3, 96, 96), torch.rand(1, 3, 384, 384)
    return lambda: network(low, reference)


def enet_again(weights: Weights) -> Call:
    """With a reference face that was there before, as where one serves a shot."""
    network = load_weights(ENet(), weights(ENet())).arrange()
    low = torch.rand(1, 3, 96, 96)
    with computing("cpu", "float32"):
        identity = network.fold(network.encode(torch.rand(1, 3, 384, 384))[0])
    return lambda: network.decode(low, identity)


def face3d(weights: Weights) -> Call:
    network = load_weights(CoefficientNetwork(), weights(CoefficientNetwork()))
    quick = fold_normalisations(network).to(memory_format=torch.channels_last)
    picture = torch.rand(1, 224, 224, 3).permute(0, 3, 1, 2)
    return lambda: quick(picture)


def ganimation(weights: Weights) -> Call:
    network = load_weights(Generator(), weights(Generator()))
    face, units = torch.rand(1, 3, 128, 128) * 2 - 1, torch.rand(1, 17)
    return lambda: network(face, units)


def gpen(weights: Weights) -> Call:
    network = load_weights(Gpen(), weights(Gpen())).arrange()
    face = torch.rand(1, 3, 512, 512) * 2 - 1
    return lambda: network(face)


def gfpgan(weights: Weights) -> Call:
    """Without noise, which costs little."""
    network = load_weights(Gfpgan(), weights(Gfpgan())).arrange()
    face = torch.rand(1, 3, 512, 512) * 2 - 1
    return lambda: network(face)


def parsenet(weights: Weights) -> Call:
    network = QuickParseNet(load_weights(ParseNet(), weights(ParseNet())))
    face = torch.rand(1, 3, 512, 512) * 2 - 1
    return lambda: network(face)


def s3fd(height: int, width: int) -> Callable[[Weights], Call]:
    def make(weights: Weights) -> Call:
        network = detector(weights).s3fd
        picture = torch.rand(1, 3, height, width) * 255 - 117
        return lambda: network(picture)

    return make


def fan(weights: Weights) -> Call:
    network = detector(weights).fan
    face = torch.rand(1, 3, 256, 256)
    return lambda: network(face)


def detector(weights: Weights) -> face_alignment.Networks:
    files = weights(face_alignment.S3FD()), weights(face_alignment.FAN(face_alignment.HOURGLASSES))
    return face_alignment.load_networks(*files)


def cases() -> list[Case]:
    return [
        Case("s3fd", "720 x 1280", s3fd(720, 1280), PUBLISHED["s3fd"]),
        Case("s3fd, small frame", "360 x 640", s3fd(360, 640)),
        Case("fan", "256", fan, PUBLISHED["fan"]),
        Case("face3d", "224", face3d, PUBLISHED["face3d"]),
        Case("dnet", "256", dnet, PUBLISHED["dnet"]),
        Case("lnet", "96", lnet, PUBLISHED["lnet"]),
        Case("enet", "384", enet, PUBLISHED["enet"]),
        Case("enet, known face", "384", enet_again),
        Case("ganimation", "128", ganimation, PUBLISHED["ganimation"]),
        Case("gpen", "512", gpen, PUBLISHED["gpen"]),
        Case("gfpgan", "512", gfpgan, PUBLISHED["gfpgan"]),
        Case("parsenet", "512", parsenet, PUBLISHED["parsenet"]),
    ]


EVERY_FRAME = ("s3fd, small frame", "fan", "face3d", "dnet", "lnet", "enet")
"""What the preset ``paper`` calls for a frame of 720 x 1280 with a face, once each."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="rows whose name begins so")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rows = [case for case in cases() if not options.only or case.name.startswith(tuple(options.only))]
    threads = f"{options.threads} threads of {os.cpu_count()}"
    print(f"torch {torch.__version__}, {threads}, batch 1, float32; {busy()} before")
    print(f"{'network':<20}{'input':>12}{'ms, ours':>12}{'CPU-ms, ours':>14}{'ms, published (another run)':>30}")
    measure(rows, options.rounds)
    for row in rows:
        times = f"{statistics.median(row.wall):>12.0f}{statistics.median(row.processor):>14.0f}"
        print(f"{row.name:<20}{row.size:>12}{times}{row.published or '-':>30}")
    each = {row.name: statistics.median(row.wall) for row in rows}
    if all(name in each for name in EVERY_FRAME):
        print(f"one frame of the preset paper: {sum(each[name] for name in EVERY_FRAME) / 1000:.1f} s in networks")
    print(f"{busy()} after")


def measure(rows: list[Case], rounds: int) -> None:
    """Fills in the times, one network after the other in each round; the first round warms up and does not count."""
    with tempfile.TemporaryDirectory() as folder, computing("cpu", "float32"):
        names = iter_names(Path(folder))
        calls = [row.make(lambda network: filled(network, next(names))) for row in rows]
        for turn in range(rounds + 1):
            for row, call in zip(rows, calls, strict=True):
                wall, processor = time.perf_counter(), time.process_time()
                call()
                if turn:
                    row.wall.append((time.perf_counter() - wall) * 1000)
                    row.processor.append((time.process_time() - processor) * 1000)


def iter_names(folder: Path) -> Iterator[Path]:
    number = 0
    while True:
        yield folder / f"{number}.safetensors"
        number += 1


def filled(network: nn.Module, file: Path) -> Path:
    """Writes random weights with which the values stay of usual size: denormal numbers would cost time."""
    tensors: dict[str, torch.Tensor] = {}
    for name, value in network.state_dict().items():
        last = name.rpartition(".")[2]
        if not value.is_floating_point():
            tensors[name] = torch.zeros_like(value)
        elif last in ("weight_u", "weight_v"):  # of spectral normalisation, unit vectors
            tensors[name] = nn.functional.normalize(torch.randn(value.shape), dim=0)
        elif value.dim() > 1:
            tensors[name] = torch.randn(value.shape) / max(1, value[0].numel()) ** 0.5
        else:
            tensors[name] = torch.ones(value.shape) if last in ("weight", "running_var") else torch.zeros(value.shape)
    for name in [name for name in tensors if name.endswith("weight_v")]:
        base = name.removesuffix("weight_v")
        weight = tensors[base + "weight_orig"].flatten(1)
        # The largest singular value that they stand for is then that of the weight, nearly, and not a small number.
        tensors[name] = nn.functional.normalize(weight.T @ tensors[base + "weight_u"], dim=0)
    save_file(tensors, file)
    return file


def busy() -> str:
    """How much else ran: the machine's load."""
    return f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"


if __name__ == "__main__":
    main()
