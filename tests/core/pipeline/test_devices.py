"""Device, inference library and number format of a run: what is rejected, and what is noted."""

from __future__ import annotations

import pytest
from retalkit.config import load
from retalkit.errors import PlanError
from retalkit.pipeline.devices import device_note
from retalkit.pipeline.plan import plan
from retalkit.plugins.discovery import discover
from retalkit.stages import StageKind

from tests.core.registries import stage


def test_missing_device_is_rejected() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has the device that the test takes for missing")
    registry = discover()
    found = stage(StageKind.ENHANCER, "network", requires=("torch",))
    registry.stages.append(found)
    config = load(registry, overrides=["enhancers=[network]", "device=cuda"])
    with pytest.raises(PlanError, match="cuda.*enhancer 'network'") as error:
        plan(config, registry)
    assert error.value.code == "missing-device"
    assert plan(load(registry, overrides=["device=cuda"]), registry)


def test_openvino_is_rejected_where_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = discover()
    config = load(registry, overrides=["inference=openvino", "precision=float16"])
    monkeypatch.setattr("retalkit.pipeline.devices.find_spec", lambda name: object())
    with pytest.raises(PlanError, match="float16") as error:
        plan(config, registry)
    assert error.value.code == "unsupported-inference"
    monkeypatch.setattr("retalkit.pipeline.devices.find_spec", lambda name: None)
    with pytest.raises(PlanError, match=r"retalkit\[openvino\]") as error:
        plan(config, registry)
    assert error.value.code == "missing-package"


def noted(*overrides: str) -> str:
    registry = discover()
    registry.stages.append(stage(StageKind.ENHANCER, "network", requires=("torch",)))
    chosen = plan(load(registry, overrides=list(overrides)), registry)
    return device_note(chosen.config, chosen.stages)


def test_unused_device_is_noted() -> None:
    assert "cuda is not used" in noted("device=cuda")
    assert noted() == noted("device=cpu") == ""


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_emulated_number_format_is_noted(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    network = ("enhancers=[network]", "inference=torch")
    for capability, emulated in (("DEFAULT", True), ("AVX2", True), ("AVX512", False)):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda found=capability: found)
        assert (f"no instructions for {precision}" in noted(*network, f"precision={precision}")) == emulated
        # The default stages contain no networks of PyTorch.
        assert noted("inference=torch", f"precision={precision}") == noted(*network) == ""


def test_number_format_of_other_processors_is_not_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert noted("enhancers=[network]", "inference=torch", "precision=bfloat16") == ""


def test_openvino_emulates_no_number_format(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr("retalkit.stages.find_spec", lambda name: object())
    assert noted("enhancers=[network]", "precision=bfloat16") == ""
    assert "float16" in noted("enhancers=[network]", "precision=float16")
