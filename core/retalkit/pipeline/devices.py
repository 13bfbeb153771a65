"""Checks of the device, the inference library and the number format that a run requests for its networks."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from retalkit.config import RunConfig
from retalkit.errors import PlanError
from retalkit.pipeline.planned_stage import PlannedStage
from retalkit.stages import Runtime

_WITHOUT_REDUCED_PRECISION = ("DEFAULT", "AVX2")
"""Instruction sets of x86 without AVX-512. PyTorch emulates bfloat16 and float16 on CPUs with these."""


def check_inference(config: RunConfig) -> None:
    """Raise PlanError if the run requests OpenVINO, but OpenVINO is not installed or does not support the settings."""
    if config.inference != "openvino":
        return
    if find_spec("openvino") is None:
        raise PlanError(
            "inference: openvino is not installed; run pip install 'retalkit[openvino]' or set inference=torch",
            code="missing-package",
        )
    if config.device != "cpu" or config.precision == "float16":
        raise PlanError(
            f"inference: openvino supports only device=cpu and precision=float32 or bfloat16, got "
            f"device={config.device} and precision={config.precision}; set inference=auto",
            code="unsupported-inference",
        )


def check_device(config: RunConfig, stages: Sequence[PlannedStage[Any]]) -> None:
    """Raise PlanError if torch does not detect the device that the run requests."""
    users = _torch_users(stages)
    if config.device == "cpu" or not users:
        return
    import torch

    available = torch.cuda.is_available() if config.device.startswith("cuda") else torch.backends.mps.is_available()
    number = int(config.device.partition(":")[2] or 0)
    if not available or (config.device.startswith("cuda") and number >= torch.cuda.device_count()):
        raise PlanError(
            f"device: torch does not detect {config.device}, which {users[0]} requires; set device=cpu",
            code="missing-device",
        )


def device_note(config: RunConfig, stages: Sequence[PlannedStage[Any]]) -> str:
    """Return a note if the stages do not use the requested device, or if the CPU emulates the requested number format.

    The note is empty if the stages use the device and the number format as requested.
    """
    users = _torch_users(stages)
    if config.device != "cpu" and not users:
        return f"device: {config.device} is not used, because all stages of this run compute on the CPU"
    runtime = Runtime(device=config.device, precision=config.precision, inference=config.inference)
    on_cpu = config.device == "cpu" and runtime.backend == "torch"
    if on_cpu and users and has_instructions(config.precision) is False:
        return (
            f"precision: this CPU has no instructions for {config.precision}, so a frame takes much longer than with "
            f"precision=float32"
        )
    return ""


def has_instructions(precision: str) -> bool | None:
    """Return whether this CPU has instructions for a number format, or None for CPUs other than x86.

    ``precision``: ``float32``, ``bfloat16`` or ``float16``. Without instructions, PyTorch emulates the format, and
    convolutions take up to 100 times longer. PyTorch does not report the instructions of other CPUs.
    """
    if precision == "float32":
        return True
    if platform.machine() not in ("x86_64", "AMD64"):
        return None
    import torch

    return torch.backends.cpu.get_cpu_capability() not in _WITHOUT_REDUCED_PRECISION


def _torch_users(stages: Sequence[PlannedStage[Any]]) -> list[str]:
    return [stage.label for stage in stages if "torch" in stage.found.spec.requires]
