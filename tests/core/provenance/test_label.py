"""The label is readable, inside the image, and leaves the sound and the frame times unchanged."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from pydantic import ValidationError
from retalkit.errors import ConfigError
from retalkit.provenance.label import Label
from retalkit.provenance.label_image import draw_label, label_place
from retalkit.provenance.options import LabelOptions

from tests.core.provenance.signing_samples import finished_run
from tests.packets import packets


def frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_label_is_drawn_for_its_duration(suffix: str, clip: Path, tmp_path: Path) -> None:
    source, target = clip.with_suffix(suffix), tmp_path / f"out{suffix}"
    if not source.exists():
        remux(clip, source)
    options = LabelOptions(text="AI dubbed", position="bottom-right", size=0.2, duration=0.5)
    run = finished_run(target, clip, clip)
    Label(options).finish(source, target, run)
    assert sorted(path.name for path in tmp_path.iterdir()) == [target.name]
    assert run.results == {"text": "AI dubbed", "seconds": 0.5}
    before, after = packets(source), packets(target)
    assert [p for p in before if p[0] == 1] == [p for p in after if p[0] == 1], "the sound is copied"
    assert [p[1] for p in sorted(before, key=lambda p: (p[0], p[1]))] == [
        p[1] for p in sorted(after, key=lambda p: (p[0], p[1]))
    ]
    changed = np.abs(frames(source).astype(int) - frames(target)).mean(axis=(2, 3))
    lower, upper = changed[:, 100:116].mean(axis=1), changed[:, :80].mean(axis=1)
    assert lower[:12].min() > 3 * upper.max()
    assert lower[12:].max() < 1.5 * upper.max()


def remux(source: Path, target: Path) -> None:
    with av.open(str(source)) as given, av.open(str(target), "w") as written:
        streams = {stream.index: written.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                written.mux(packet)


@pytest.mark.parametrize("position", ["top-left", "top", "bottom-right"])
@pytest.mark.parametrize("text", ["AI", "Mit KI synchronisiert, ИИ-дубляж, " * 4])
def test_label_fits_into_the_image(position: str, text: str) -> None:
    options = LabelOptions.model_validate({"text": text, "position": position})
    colours, opacity = draw_label(options, 320, 180)
    height, width = opacity.shape
    left, top = label_place(options, (320, 180), (width, height))
    assert colours.shape == (height, width, 3)
    assert 0 <= left <= 320 - width and 0 <= top <= 180 - height
    assert (colours[opacity == 1] > 200).any(), "white text"


def test_unusable_labels_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "not.png").write_text("text")
    for options in ({}, {"text": "two\nlines"}, {"text": "a", "size": 2}, {"text": "a", "position": "middle"}):
        with pytest.raises(ValidationError):
            LabelOptions.model_validate(options)
    for options, fact in (
        ({"text": "配音"}, "U+"),
        ({"text": "a", "icon": tmp_path / "not.png"}, "icon"),
        ({"text": "a", "font": tmp_path / "not.png"}, "font"),
    ):
        with pytest.raises(ConfigError, match=fact) as error:
            LabelOptions.model_validate(options).check_files()
        assert error.value.code == "invalid-label"
