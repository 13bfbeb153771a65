"""Reference enhancers work before the lip syncer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import retalkit
from retalkit.config import RunConfig
from retalkit.errors import PlanError
from retalkit.media.sources import open_source
from retalkit.pipeline.plan import plan
from retalkit.plugins.discovery import discover

PLUGIN = '''
import numpy as np
from retalkit.imaging.compositing import shift_matrix
from retalkit.plugins import StageSpec, hookimpl
from retalkit.stages import FaceEdit, ReferenceBatch, StageKind


class Inverter:
    def __init__(self, config, runtime):
        pass

    def open_references(self, clip, context):
        return self

    def enhance_references(self, faces, references):
        return ReferenceBatch(references.landmarks, 255 - references.images)

    def close(self):
        pass


class Copier:
    """Shows the whole reference as it is."""

    def __init__(self, config, runtime):
        pass

    def open(self, clip, context):
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
        StageSpec(kind=StageKind.ENHANCER, name="invert", summary="", build=Inverter, licence="MIT", api=2,
                  gives=frozenset({"face:edit", "reference:image"})),
        StageSpec(kind=StageKind.LIP_SYNCER, name="copy", summary="", build=Copier, licence="MIT", api=2,
                  needs=frozenset({"frames", "reference:image"}), gives=frozenset({"face:edit"})),
    ]
'''


def test_lip_syncer_reads_enhanced_references(moving_head: Path, short_speech: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "inverting.py"
    plugin.write_text(PLUGIN, encoding="utf-8")
    registry = discover([plugin])
    given = ["lip_syncer=copy", "expression_editor=first_frame"]

    def first(name: str, enhancers: str) -> np.ndarray:
        config = RunConfig.from_preset(
            registry=registry, overrides=[*given, f"reference_enhancers={enhancers}", "enhancers=[]"]
        )
        output = tmp_path / name
        retalkit.dub(moving_head, short_speech, output, config=config, registry=registry, cache=tmp_path / "cache")
        return next(iter(open_source(output).read([0])))[1].astype(int)

    plain, inverted = first("plain.mp4", "[]"), first("inverted.mp4", "[invert]")
    twice = first("twice.mp4", "[invert, invert]")
    assert np.abs(255 - plain - inverted).mean() < 6
    assert np.abs(plain - twice).mean() < 3


def test_enhancer_without_reference_port_is_rejected() -> None:
    registry = discover()
    config = RunConfig.from_preset(registry=registry, overrides=["reference_enhancers=[detail]"])
    with pytest.raises(PlanError, match=r"reference_enhancers\.0: .*'detail'") as error:
        plan(config, registry)
    assert error.value.code == "not-a-reference-enhancer"
