"""Options of the losses: documentation, validation and import time."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError
from retalkit_training.loop.config import OptimizerConfig
from retalkit_training.losses import config as configs
from retalkit_training.losses.config import AdversarialConfig, LossConfig

MODELS = [
    value
    for value in vars(configs).values()
    if inspect.isclass(value) and issubclass(value, LossConfig) and value is not LossConfig
]
SOURCE = re.compile(
    r"\b[Rr]eport\b|PIRender|Wav2Lip|VideoReTalking|video-retalking|GPEN|GFPGAN|StyleGAN2|MuseTalk|InsightFace|Johnson|published"
)


@pytest.mark.parametrize("model", MODELS)
def test_every_option_states_its_source(model: type[LossConfig]) -> None:
    fields = model.model_json_schema()["properties"]
    assert fields
    for name, field in fields.items():
        text = field.get("description", "")
        # Options that contain a model are documented by its fields.
        nested = inspect.isclass(kind := model.model_fields[name].annotation) and issubclass(kind, LossConfig)
        assert SOURCE.search(text) or (nested and text), f"{model.__name__}.{name}: {text!r}"


def test_defaults_are_the_published_weights() -> None:
    dnet, lnet, enet = configs.DNetLossConfig(), configs.LNetLossConfig(), configs.ENetLossConfig()
    assert (dnet.warp_weight, dnet.final_weight, dnet.final.style_weight) == (2.5, 4, 250)
    assert (dnet.warp.style_weight, dnet.warp.scales, dnet.final.scales) == (0, 4, 4)
    assert (lnet.l1_weight, lnet.perceptual_weight, lnet.sync_weight) == (1, 1, 0.3)
    weights = (enet.l1_weight, enet.perceptual_weight, enet.adversarial_weight, enet.identity_weight)
    assert weights == (0.1, 2, 100, 0.4)
    wav2lip = configs.Wav2LipLossConfig()
    assert (wav2lip.started_sync_weight, wav2lip.quality_weight, wav2lip.sync_start) == (0.03, 0.07, 0.75)
    assert configs.Wav2LipLossConfig(quality_weight=0).started_sync_weight == 0.01


def test_options_survive_serialisation() -> None:
    for model in MODELS:
        assert model.model_validate_json(model().model_dump_json()) == model()


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"size": 384}, "384 is not a power of two"),
        ({"size": 4}, "size"),
        ({"kind": "wgan"}, "kind"),
        ({"r1_weight": -1}, "r1_weight"),
        ({"r1": 10}, "r1"),
    ],
)
def test_invalid_adversarial_options_are_rejected(options: dict[str, Any], fact: str) -> None:
    with pytest.raises(ValidationError, match=fact):
        AdversarialConfig(**options)


@pytest.mark.parametrize(
    ("model", "options", "fact"),
    [
        (configs.LNetLossConfig, {"l1_weight": 0, "perceptual_weight": 0, "sync_weight": 0}, "at least one weight"),
        (configs.DNetLossConfig, {"warp_weight": 0, "final_weight": 0}, "at least one weight"),
        (configs.LNetLossConfig, {"l1_weight": "inf"}, "finite"),
        (OptimizerConfig, {"betas": (0.9, 1.0)}, "betas"),
    ],
)
def test_options_with_which_nothing_is_learned_are_rejected(
    model: type[configs.LossConfig], options: dict[str, Any], fact: str
) -> None:
    with pytest.raises(ValidationError, match=fact):
        model.model_validate(options)


def test_options_are_imported_without_torch() -> None:
    script = "import sys, retalkit_training.losses.config\nprint({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
