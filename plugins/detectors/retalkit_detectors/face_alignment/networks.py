"""Networks from the face-alignment library, with weights from the weight store.

The library's constructor downloads weights or loads them from a pickle file. Retalkit imports only the library's
network classes, which do not load weights and whose parameter names match the published files. Retalkit does not call
the library functions that load weights, compile functions or set process-wide torch options.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from face_alignment.detection.sfd.net_s3fd import s3fd as S3FD  # noqa: N812 - the library's class name is lower case
from face_alignment.models import FAN
from retalkit.inference import CompiledNetwork, compile_network, empty_network, load_weights, state_shapes
from retalkit.stages import Runtime
from torch import nn

HOURGLASSES = 4


@dataclass(frozen=True, slots=True)
class Networks:
    """S3FD and FAN in evaluation mode with loaded weights."""

    s3fd: CompiledNetwork
    """S3FD network. Its input is float32 [1, 3, h, w], BGR in 0 to 255 minus ``boxes.MEAN``, at least 32 x 32 pixels.

    For each of six levels, S3FD returns scores [1, 2, h', w'] (background and face, before the softmax) and offsets [1,
    4, h', w'].
    """
    fan: CompiledNetwork
    """FAN network. Its input is float32 [1, 3, 256, 256], RGB in [0, 1].

    FAN returns heat maps [1, 68, 64, 64] for each hourglass. The detector uses the last hourglass's heat maps.
    """


def load_networks(runtime: Runtime) -> Networks:
    """Return both networks with loaded weights. Raises WeightsError if a checkpoint does not match its network."""
    return Networks(
        s3fd=_load(runtime, "s3fd", S3FD, torch.zeros(1, 3, 64, 96), variable_size=True),
        fan=_load(runtime, "fan", make_fan, torch.zeros(1, 3, 256, 256)),
    )


def make_fan() -> nn.Module:
    """Return a randomly initialised FAN with four hourglasses."""
    return FAN(HOURGLASSES)


def s3fd_shapes() -> dict[str, tuple[int, ...]]:
    """Return each S3FD parameter's name and shape."""
    return state_shapes(S3FD)


def fan_shapes() -> dict[str, tuple[int, ...]]:
    """Return the parameter names and shapes of FAN with four hourglasses."""
    return state_shapes(make_fan)


def _load(
    runtime: Runtime, name: str, make: Callable[[], nn.Module], example: torch.Tensor, *, variable_size: bool = False
) -> CompiledNetwork:
    weights = runtime.weights[name]

    def load() -> CompiledNetwork:
        network = load_weights(empty_network(make), weights)
        return compile_network(network, [example], runtime, variable_size=variable_size, full_precision=True)

    return runtime.shared((name, weights), load)
