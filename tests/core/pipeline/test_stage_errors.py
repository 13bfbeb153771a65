"""A failing stage is named with the line of its code; invalid results are rejected at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import retalkit
from retalkit.config import RunConfig
from retalkit.errors import StageError
from retalkit.plugins.discovery import discover

PLUGIN = """
from dataclasses import replace
import numpy as np
from retalkit.plugins import StageConfig, StageSpec, hookimpl
from retalkit.stages import FaceEdit, StageKind

class Options(StageConfig):
    fault: str = "raises"

class Faulty:
    def __init__(self, config, runtime):
        self.fault = config.fault
    def open(self, clip, context):
        if self.fault == "open":
            raise KeyError("no such thing")
        return self
    def enhance(self, batch, edits):
        return wrong(self.fault, list(edits), batch)
    def close(self):
        pass

def wrong(fault, edits, batch):
    if fault == "raises":
        return edits[0].nothing  # reported line
    if fault == "count":
        return edits[:-1]
    if fault == "images":
        return batch.references.images[0]
    change = {
        "mask": lambda e: replace(e, mask=np.full_like(e.mask, 1.01)),
        "image": lambda e: replace(e, image=e.image.astype(np.float32)),
        "shape": lambda e: replace(e, mask=e.mask[:-1]),
    }[fault]
    return [change(e) if isinstance(e, FaceEdit) else e for e in edits]

@hookimpl
def retalkit_stages():
    yield StageSpec(StageKind.ENHANCER, "faulty", "is wrong", Faulty, "MIT", Options,
                    frozenset({"face:edit"}), frozenset({"face:edit"}), api=2)
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faulty") / "faulty.py"
    path.write_text(PLUGIN, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("fault", "fact"),
    [
        ("open", "failed: KeyError: 'no such thing'"),
        ("raises", "failed: AttributeError"),
        ("images", "`reference:image`"),
        ("count", "results for"),
        ("mask", "mask has values from 1.00999999 to 1.00999999"),
        ("image", "image is float32"),
        ("shape", "mask is float32"),
    ],
)
def test_error_names_the_stage_and_its_line(
    plugin: Path, moving_head: Path, short_speech: Path, tmp_path: Path, fault: str, fact: str
) -> None:
    registry = discover([plugin])
    overrides = ["enhancers.0.use=faulty", f"enhancers.0.fault={fault}"]
    config = RunConfig.from_preset(registry=registry, overrides=overrides)
    output = tmp_path / "out.mp4"
    with pytest.raises(StageError) as raised:
        retalkit.dub(moving_head, short_speech, output, config=config, registry=registry, cache=plugin.parent / "cache")
    text = str(raised.value)
    assert text.startswith(f"enhancer 'faulty' of {plugin} ")
    assert fact in text
    assert "check_stage" in text and "\n" not in text
    if fault in ("open", "raises"):
        source = plugin.read_text(encoding="utf-8").splitlines()
        line = next(n for n, code in enumerate(source, 1) if "no such thing" in code or "reported line" in code)
        lines = [n for n, code in enumerate(source, 1) if "no such thing" in code or "reported line" in code]
        assert f"{plugin}, line {line if fault == 'open' else lines[1]})" in text
    assert not output.exists()
