"""The metric ``cost`` on hand-written run records."""

import math
from typing import Any

import pytest
from retalkit_metrics.cost import cost_scores

RECORD: dict[str, Any] = {
    "output_seconds": 4.0,
    "seconds": {
        "speech": 0.01,
        "faces": 0.01,
        "coefficients": 0.01,
        "references": 1,
        "lips": 2,
        "render": 8,
        "join": 1,
    },
    "cached_steps": ["speech", "faces", "coefficients"],
    "peak_memory_bytes": 512 * 2**20,
    "weight_bytes": {"dnet": 2**20, "lnet": 3 * 2**20},
}
COST = {"speech": 2.0, "faces": 4.0, "coefficients": 2.0, "references": 1.0, "lips": 2.0, "render": 8.0, "join": 1.0}


def test_cached_step_has_its_computing_cost() -> None:
    scores = cost_scores(RECORD | {"cost": COST})
    assert scores["cost_detector"] == 1.0
    assert scores["cost_render"] == 2.0
    assert scores["realtime_factor"] == pytest.approx(4.0 / 20.0)
    assert scores["peak_memory"] == 512
    assert cost_scores({**RECORD, "peak_memory_cost": 700 * 2**20})["peak_memory"] == 700
    assert math.isnan(cost_scores({**RECORD, "peak_memory_cost": 0})["peak_memory"])
    assert scores["weights_size"] == 4


def test_cached_step_without_cost_is_nan() -> None:
    scores = cost_scores(RECORD)
    assert math.isnan(scores["cost_detector"])
    assert scores["cost_render"] == 2.0
    assert math.isnan(scores["realtime_factor"])


def test_old_record_without_cached_steps() -> None:
    record = {"output_seconds": 4.0, "seconds": COST, "cached_steps": [], "peak_memory_bytes": 0}
    scores = cost_scores(record)
    assert scores["realtime_factor"] == pytest.approx(0.2)
    assert math.isnan(scores["weights_size"]) and math.isnan(scores["peak_memory"])


def test_realtime_factor_is_inverse_to_cost() -> None:
    slower = {step: 2 * value for step, value in COST.items()}
    fast, slow = (cost_scores(RECORD | {"cost": cost})["realtime_factor"] for cost in (COST, slower))
    assert slow == pytest.approx(fast / 2)


def test_weights_size_is_zero_without_weights() -> None:
    assert cost_scores(RECORD | {"weight_bytes": {}})["weights_size"] == 0


def test_empty_record_gives_nan() -> None:
    assert all(math.isnan(value) for value in cost_scores({}).values())


def test_cost_per_stage() -> None:
    own = {"expression_editor": 0.4, "lip_syncer": 6.0, "enhancers.0": 1.0, "enhancers.1": 3.0}
    scores = cost_scores(RECORD | {"cost": COST, "stage_cost": own})
    assert scores["cost_lip_syncer"] == 1.5
    assert scores["cost_enhancers"] == 1.0
    assert scores["cost_denoiser"] == 0.5
    without_enhancers = cost_scores(RECORD | {"cost": COST, "stage_cost": {"lip_syncer": 6.0}})
    assert without_enhancers["cost_enhancers"] == 0, "no enhancers, no cost"
    assert math.isnan(cost_scores(RECORD | {"cost": COST})["cost_lip_syncer"])
