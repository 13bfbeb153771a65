"""``retalkit train compare-sources``: D-Net from the first frame and from each frame of a video."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")
pytest.importorskip("webdataset", reason="datasets need the extra: pip install 'retalkit[train]'")

from retalkit.errors import RetalkitError
from retalkit.media.sources import open_source
from retalkit.plugins.discovery import discover
from retalkit.weights.store import WeightStore
from retalkit_training.source_comparison import NUMBERS, SHEET, compare_sources, measure
from retalkit_training.tasks.frozen_weights import StoredWeights

from tests.training.test_dataset_prepare import WOMAN, cut


def test_measurements_distinguish_blur_and_motion(shared_media: Path) -> None:
    frames = [image[:, 100:] for _, image in open_source(shared_media / WOMAN).read(range(0, 30, 3))]
    faces = [cv2.resize(frame[: frame.shape[1]], (256, 256)).astype(np.uint8) for frame in frames]
    moving, still = measure(faces), measure([faces[0]] * len(faces))
    blurred = measure([cv2.GaussianBlur(face, (0, 0), 2).astype(np.uint8) for face in faces])
    assert moving["detected"] == 1
    assert moving["mouth_motion"] is not None and still["mouth_motion"] is not None
    assert moving["mouth_motion"] > 1 > 0.3 > still["mouth_motion"]
    assert still["mouth_change"] == 0
    assert blurred["sharpness"] is not None and moving["sharpness"] is not None
    assert blurred["sharpness"] < moving["sharpness"] / 3
    assert measure([np.full_like(faces[0], 90)] * 2)["mouth_motion"] is None


@pytest.mark.slow
def test_comparison_of_a_short_video(
    shared_media: Path,
    pseudo_weights: Callable[[str], Path],
    shared_parity: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RETALKIT_HOME", str(tmp_path / "home"))
    video = cut(shared_media / WOMAN, tmp_path / "short.mkv", 16)
    with pytest.raises(RetalkitError, match="expression_templates") as error:
        compare_sources(video, pseudo_weights("dnet"), tmp_path / "out", StoredWeights())
    assert error.value.code == "missing-weights"
    store, registry = WeightStore(), discover()
    store.add(registry.checkpoint("expression_templates"), shared_parity / "expression.mat")
    with pytest.raises(RetalkitError, match="face3d") as error:
        compare_sources(video, pseudo_weights("dnet"), tmp_path / "out", StoredWeights())
    assert error.value.code == "missing-coefficients"
    store.add(registry.checkpoint("face3d"), pseudo_weights("face3d"))
    store.add(registry.checkpoint("bfm_landmarks"), shared_parity / "similarity_Lm3D_all.mat")
    out, calls = tmp_path / "compared", list[tuple[int, int]]()

    def run(template: str = "smile") -> None:
        compare_sources(
            video,
            pseudo_weights("dnet"),
            out,
            StoredWeights(),
            template=template,  # type: ignore[arg-type]
            frames=(1, 8, 15, 50),
            report=lambda *done: calls.append(done),
        )

    run()
    numbers = json.loads((out / NUMBERS).read_text(encoding="utf-8"))
    count = numbers["frames"]
    assert numbers["shown"] == [1, 8, 15]
    assert set(numbers["measured"]) == {"unedited", "first", "each"}
    assert calls[-1] == (2 * count, 2 * count)
    sheet = cv2.imread(str(out / SHEET))
    assert sheet is not None
    assert sheet.shape == (3 * 284 + 4, 3 * 260 + 4, 3)
    first, each = (cv2.imread(str(out / name / "000001.png")) for name in ("first", "each"))
    np.testing.assert_array_equal(first, each)
    # A repeated call reads the generated faces, and other options are refused.
    kept = (out / "each" / "000002.png").stat().st_mtime_ns
    run()
    assert (out / "each" / "000002.png").stat().st_mtime_ns == kept
    with pytest.raises(RetalkitError) as error:
        run("neutral")
    assert error.value.code == "output-exists"
