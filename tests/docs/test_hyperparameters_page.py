"""The page of the hyperparameters: complete, generated from the options models, and true for the presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from retalkit_training.loop.config import LoopConfig
from retalkit_training.tasks.config import CONFIGS

from docs.generate.hyperparameters import ALL, PUBLISHED_VALUES, SEED_VALUES, SOURCES, page, values
from tests.docs.pages import text_of


def test_page_matches_the_options() -> None:
    assert text_of("docs/training/hyperparameters.md") == page(), "run `python docs/generate/hyperparameters.py`"


@pytest.mark.parametrize("trainer", CONFIGS)
def test_every_option_has_a_row(trainer: str) -> None:
    assert set(ALL) | {"steps", "batch_size"} == set(LoopConfig.model_fields)
    assert set(SOURCES[trainer]) | set(ALL) == set(values(trainer))


@pytest.mark.parametrize(("preset", "sources"), [("seed", SEED_VALUES), ("published", PUBLISHED_VALUES)])
def test_presets_have_the_values_of_the_sources(preset: str, sources: Mapping[str, Mapping[str, Any]]) -> None:
    for trainer, expected in sources.items():
        found = values(trainer, preset)
        assert {name: found[name] for name in expected} == expected, trainer
