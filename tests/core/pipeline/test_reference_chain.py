"""Enhancers that work on the reference, before the lip syncer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import retalkit
from retalkit.config import RunConfig
from retalkit.media.sources import open_source
from retalkit.plugins.discovery import discover

PLUGIN = '''
from typing import Literal

import numpy as np
from retalkit.imaging.compositing import shift_matrix
from retalkit.plugins import StageConfig, StageSpec, hookimpl
from retalkit.stages import FaceEdit, ReferenceBatch, StageKind


class Inverting(StageConfig):
    on: Literal["face", "reference"] = "reference"

    def needs(self):
        return frozenset({"reference:image"}) if self.on == "reference" else frozenset()


class Inverter:
    def __init__(self, config):
        pass

    def open(self, analysis, context):
        return self

    def enhance_references(self, faces, references):
        return ReferenceBatch(references.landmarks, 255 - references.images)

    def enhance(self, batch, edits):
        raise AssertionError("it works on the reference")

    def close(self):
        pass


class Copier:
    """Shows the reference as it is, whole."""

    def __init__(self, config):
        pass

    def open(self, analysis, references, timeline, speech, context):
        return self

    def sync(self, batch):
        return [
            FaceEdit(image, np.ones(image.shape[:2], np.float32), shift_matrix(0, 0))
            for image in batch.references.images
        ]

    def close(self):
        pass


@hookimpl
def retalkit_stages():
    return [
        StageSpec(kind=StageKind.ENHANCER, name="invert", summary="", build=Inverter, licence="MIT", config=Inverting),
        StageSpec(kind=StageKind.LIP_SYNCER, name="copy", summary="", build=Copier, licence="MIT",
                  needs=frozenset({"frames", "reference:image"}), gives=frozenset({"face:edit"})),
    ]
'''


def test_what_an_enhancer_makes_of_the_reference_is_what_the_lip_syncer_sees(
    moving_head: Path, short_speech: Path, tmp_path: Path
) -> None:
    plugin = tmp_path / "inverting.py"
    plugin.write_text(PLUGIN, encoding="utf-8")
    registry = discover([plugin])
    given = ["lip_syncer=copy", "expression_editor=first_frame"]

    def first(name: str, enhancers: str) -> np.ndarray:
        config = RunConfig.from_preset(registry=registry, overrides=[*given, f"enhancers={enhancers}"])
        output = tmp_path / name
        retalkit.dub(moving_head, short_speech, output, config=config, registry=registry, cache=tmp_path / "cache")
        return next(iter(open_source(output).read([0])))[1].astype(int)

    plain, inverted = first("plain.mp4", "[]"), first("inverted.mp4", "[invert]")
    twice = first("twice.mp4", "[invert, invert]")
    assert np.abs(255 - plain - inverted).mean() < 6
    assert np.abs(plain - twice).mean() < 3
