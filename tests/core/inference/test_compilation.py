"""Running a network with PyTorch or OpenVINO."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="networks need the extra: pip install 'retalkit[paper]'")

from retalkit.inference import compile_network
from retalkit.stages import Runtime
from torch import Tensor, nn

needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="the extra is not installed: pip install 'retalkit[openvino]'"
)
"""Not ``importorskip``, which would import OpenVINO with its telemetry."""


class Twice(nn.Module):
    """Two outputs of different shapes from an image and a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, image: Tensor, vector: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = self.convolution(image) * vector[:, :, None, None]
        return features, [features.mean((2, 3))]


def network(seed: int = 1) -> Twice:
    torch.manual_seed(seed)
    return Twice().eval()


IMAGE, VECTOR = torch.linspace(-1, 1, 3 * 8 * 8).reshape(1, 3, 8, 8), torch.tensor([[1.0, -2.0, 0.5, 3.0]])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RETALKIT_HOME", str(tmp_path))
    return tmp_path / "openvino"


def expected(seed: int = 1) -> list[Tensor]:
    with torch.inference_mode():
        features, (mean,) = network(seed)(IMAGE, VECTOR)
    return [features, mean]


def test_torch_returns_all_outputs_flat() -> None:
    compiled = compile_network(network(), [IMAGE, VECTOR], Runtime(inference="torch"))
    assert compiled.backend == "torch"
    for result, wanted in zip(compiled(IMAGE, VECTOR), expected(), strict=True):
        assert torch.equal(result, wanted)


@needs_openvino
def test_auto_is_torch_without_openvino_or_off_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retalkit.stages.find_spec", lambda name: object())
    assert Runtime().backend == "openvino"
    assert Runtime(precision="bfloat16").backend == "openvino"
    assert Runtime(precision="float16").backend == "torch"
    assert Runtime(device="cuda").backend == "torch"
    assert Runtime(inference="torch").backend == "torch"
    monkeypatch.setattr("retalkit.stages.find_spec", lambda name: None)
    assert Runtime().backend == "torch"


@needs_openvino
def test_openvino_agrees_with_torch_and_reads_the_stored_model(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from retalkit.inference import openvino_backend

    runtime = Runtime(inference="openvino", threads=1)
    compiled = compile_network(network(), [IMAGE, VECTOR], runtime)
    assert compiled.backend == "openvino"
    first = compiled(IMAGE, VECTOR)
    for result, wanted in zip(first, expected(), strict=True):
        torch.testing.assert_close(result, wanted, rtol=0, atol=1e-5)
    kept = [result.clone() for result in first]
    compiled(-IMAGE, VECTOR)
    assert all(torch.equal(*pair) for pair in zip(first, kept, strict=True)), "results belong to the caller"
    with ThreadPoolExecutor(4) as pool:
        for results in pool.map(lambda _: compiled(IMAGE, VECTOR), range(8)):
            assert all(torch.equal(*pair) for pair in zip(results, kept, strict=True))

    (entry,) = home.iterdir()
    assert entry.name.startswith("Twice-")
    with monkeypatch.context() as patch:
        patch.setattr(openvino_backend, "_convert", None)
        again = compile_network(network(), [IMAGE, VECTOR], runtime)(IMAGE, VECTOR)
    assert all(torch.equal(*pair) for pair in zip(again, kept, strict=True))
    compile_network(network(seed=2), [IMAGE, VECTOR], runtime)
    assert len(list(home.iterdir())) == 2, "other weights are another model"


@needs_openvino
def test_damaged_stored_model_is_converted_again(home: Path) -> None:
    runtime = Runtime(inference="openvino", threads=1)
    compile_network(network(), [IMAGE, VECTOR], runtime)
    (entry,) = home.iterdir()
    weights = (entry / "model.bin").read_bytes()
    values = network().convolution.weight.detach().numpy()
    wrong = weights.replace(values.tobytes(), (-values).tobytes())
    assert wrong != weights
    for name, content in (("model.xml", b"<net>"), ("model.bin", weights[:-8]), ("model.bin", wrong)):
        (entry / name).write_bytes(content)
        results = compile_network(network(), [IMAGE, VECTOR], runtime)(IMAGE, VECTOR)
        torch.testing.assert_close(results[0], expected()[0], rtol=0, atol=1e-5)
        assert (entry / "model.bin").read_bytes() == weights
    assert list(home.iterdir()) == [entry]


@needs_openvino
def test_processes_that_start_together_convert_a_network_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from retalkit.inference import openvino_backend

    convert, conversions = openvino_backend._convert, []

    def counted(*arguments: Any, **options: Any) -> Any:
        conversions.append(arguments)
        time.sleep(0.2)
        return convert(*arguments, **options)

    monkeypatch.setattr(openvino_backend, "_convert", counted)
    runtime = Runtime(inference="openvino", threads=1)
    networks = [network() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:  # Each thread opens the lock file, as a process would.
        compiled = list(pool.map(lambda each: compile_network(each, [IMAGE, VECTOR], runtime), networks))
    assert len(conversions) == 1
    for each in compiled:
        torch.testing.assert_close(each(IMAGE, VECTOR)[0], expected()[0], rtol=0, atol=1e-5)
    assert [entry.name[:6] for entry in home.iterdir()] == ["Twice-"]


class Repeated(nn.Module):
    """Network with an option that is neither a parameter nor part of the string representation."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, image: Tensor) -> Tensor:
        return image.repeat_interleave(self.count, 3) * 1.0


@needs_openvino
def test_options_of_a_network_are_part_of_the_key(home: Path) -> None:
    for count in (2, 3):
        compiled = compile_network(Repeated(count).eval(), [IMAGE], Runtime(inference="openvino", threads=1))
        assert compiled(IMAGE)[0].shape[3] == count * IMAGE.shape[3]


@needs_openvino
def test_reduced_precision_applies_unless_the_network_needs_float32(home: Path) -> None:
    from retalkit.inference.openvino_import import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("the CPU has no bfloat16 instructions")
    torch.manual_seed(4)
    layer, image = nn.Conv2d(16, 16, 3, padding=1).eval(), torch.rand(1, 16, 32, 32)
    with torch.inference_mode():
        wanted = layer(image)
    runtime = Runtime(precision="bfloat16", threads=1)
    assert runtime.backend == "openvino"
    reduced = compile_network(layer, [image], runtime)(image)[0]
    full = compile_network(layer, [image], runtime, full_precision=True)(image)[0]
    torch.testing.assert_close(full, wanted, rtol=0, atol=1e-5)
    assert 1e-4 < float((reduced - wanted).abs().max()) < 3e-2


@needs_openvino
def test_image_size_may_vary_on_request(home: Path) -> None:
    torch.manual_seed(3)
    convolution = nn.Conv2d(3, 2, 3, stride=2, padding=1).eval()
    compiled = compile_network(
        convolution, [torch.zeros(1, 3, 8, 8)], Runtime(inference="openvino"), variable_size=True
    )
    for height, width in ((8, 8), (9, 14), (8, 8)):
        image = torch.rand(1, 3, height, width)
        with torch.inference_mode():
            wanted = convolution(image)
        torch.testing.assert_close(compiled(image)[0], wanted, rtol=0, atol=1e-5)


@needs_openvino
def test_openvino_runs_without_telemetry(tmp_path: Path) -> None:
    """OpenVINO reports its import and its conversions to its publisher, and keeps an identifier in the home."""
    script = (
        "import sys, torch\n"
        "from retalkit.inference import compile_network\n"
        "from retalkit.stages import Runtime\n"
        "network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)).eval()\n"
        "compile_network(network, (torch.rand(1, 3, 8, 8),), Runtime(inference='openvino'))\n"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')])"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "RETALKIT_HOME": str(tmp_path / "retalkit")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[-1] == "[]"
    assert list(home.iterdir()) == []
