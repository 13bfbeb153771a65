"""Edits in 10-bit video, and the layer with the edit alone."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import retalkit
from retalkit.errors import OutputError
from retalkit.imaging.compositing import composite, shift_matrix
from retalkit.media.colour import BT709, Colour
from retalkit.media.encoding import SegmentWriter
from retalkit.media.layer import LAYER_ENCODING, check_layer, write_layer
from retalkit.media.sources import open_source
from retalkit.media.yuv_frames import planes_of
from retalkit.pipeline.layer import layer_segment
from retalkit.pipeline.run import RunConfig, discover
from retalkit.stages import FaceEdit, PassedThrough
from retalkit.storage.cache import Folder

SIZE = (96, 64)
CLOCK = Fraction(1, 12800)


def edit(value: int, left: int, top: int) -> FaceEdit:
    rows, columns = np.mgrid[0:24, 0:30]
    mask = np.clip(1.2 - np.hypot((rows - 12) / 12, (columns - 15) / 15), 0, 1).astype(np.float32)
    image = np.stack([np.full((24, 30), value), columns * 8, rows * 9], axis=-1).astype(np.uint8)
    return FaceEdit(image=image, mask=mask, matrix=shift_matrix(left, top))


@pytest.fixture
def layers(tmp_path: Path) -> list[Path]:
    """Write two segments with frames without an edit, with one edit, and with two overlapping edits."""
    folder = Folder(tmp_path / "cache")
    shown = [[PassedThrough("no face")], [edit(200, 10, 20)], [edit(200, 60, 30), edit(90, 70, 25)]]

    def open_writer(path: Path) -> SegmentWriter:
        return SegmentWriter(path, SIZE, Colour(), Fraction(25), CLOCK, LAYER_ENCODING)

    for number in range(2):
        with layer_segment(folder, number, SIZE, open_writer) as layer:
            for index, results in enumerate(shown):
                time = (number * len(shown) + index) / 25
                layer.write(results, [], None, time, 1 / 25)
    return [tmp_path / "cache" / f"layer-{number:06d}.nut" for number in range(2)]


def expected_frame(results: list[FaceEdit], below: np.ndarray) -> np.ndarray:
    frame = below.copy()
    for each in results:
        composite(frame, each)
    return frame


def test_images_over_the_original_give_the_edited_frames(tmp_path: Path, layers: list[Path]) -> None:
    write_layer(layers, tmp_path / "layer", BT709, CLOCK, Fraction(25))
    names = sorted(path.name for path in (tmp_path / "layer").iterdir())
    assert names == [f"frame_{number:06d}.png" for number in range(6)]
    below = np.random.default_rng(2).integers(0, 256, (*SIZE[::-1], 3)).astype(np.uint8)
    shown = [[], [edit(200, 10, 20)], [edit(200, 60, 30), edit(90, 70, 25)]]
    for number, results in enumerate(shown):
        image = cv2.imread(str(tmp_path / "layer" / names[number + 3]), cv2.IMREAD_UNCHANGED)
        alpha = image[..., 3:].astype(float) / 255
        over = below * (1 - alpha) + image[..., 2::-1] * alpha
        assert np.abs(over - expected_frame(results, below)).max() < 1.6


def test_prores_layer_has_alpha_and_times(tmp_path: Path, layers: list[Path]) -> None:
    path = tmp_path / "layer.mov"
    write_layer(layers, path, BT709, CLOCK, Fraction(25))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.codec_tag) == ("prores", "ap4h")
        frames = list(container.decode(stream))
    assert [frame.time for frame in frames] == pytest.approx(np.arange(6) / 25, abs=1e-4)
    assert frames[0].format.name.startswith("yuva444p1")
    depth = frames[0].format.components[3].bits
    alpha = [planes_of(frame)[3].astype(float) / (2**depth - 1) for frame in frames]
    assert alpha[3].max() < 0.01
    mask = np.zeros(SIZE[::-1])
    mask[20:44, 10:40] = edit(200, 10, 20).mask
    assert np.abs(alpha[4] - mask).max() < 0.03
    assert sorted(each.name for each in tmp_path.iterdir()) == ["cache", "layer.mov"]


def test_layer_path_is_checked_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "frame_000000.png").write_bytes(b"")
    check_layer(tmp_path / "new")
    for name in ("SHA256SUMS", "SHA256SUMS.c2pa"):
        (tmp_path / "images" / name).touch()
    check_layer(tmp_path / "images", force=True)
    for name, force, code in (
        ("edit.mp4", False, "unsupported-layer-format"),
        ("no/folder", False, "directory-not-found"),
        ("full", True, "output-exists"),
        ("images", False, "output-exists"),
    ):
        with pytest.raises(OutputError) as error:
            check_layer(tmp_path / name, force)
        assert error.value.code == code, name


def test_ten_bit_run_keeps_all_samples_outside_the_edit(tmp_path: Path, moving_head: Path, short_speech: Path) -> None:
    clip = tmp_path / "deep.mkv"
    with av.open(str(clip), "w") as container, av.open(str(moving_head)) as source:
        stream = container.add_stream("ffv1", rate=25)
        stream.width = stream.height = 448
        stream.pix_fmt = "yuv422p10le"
        for number, frame in zip(range(30), source.decode(video=0), strict=False):
            deep = frame.reformat(format="yuv422p10le")
            planes_of(deep)[0][...] |= number % 4
            deep.pts = number
            container.mux(stream.encode(deep))
        container.mux(stream.encode(None))
    registry = discover()
    config = RunConfig.from_preset(
        registry=registry, overrides=["output.codec=ffv1", "length=video", "provenance.sign=false"]
    )
    out = tmp_path / "out.mkv"
    record = retalkit.dub(
        clip, short_speech, out, config=config, registry=registry, cache=tmp_path / "cache", layer=tmp_path / "layer"
    )
    assert record.frames_edited == 30 and record.artefacts["layer"] == tmp_path / "layer"
    given, result = open_source(clip), open_source(out)
    assert result.pixel_format.name == "yuv422p10le"
    changed = 0
    frames = zip(
        given.read_video_frames(range(30), given.pixel_format),
        result.read_video_frames(range(30), given.pixel_format),
        strict=True,
    )
    for (index, before), (_, after) in frames:
        layer = cv2.imread(str(tmp_path / "layer" / f"frame_{index:06d}.png"), cv2.IMREAD_UNCHANGED)
        touched = cv2.dilate((layer[..., 3] > 0).astype(np.uint8), np.ones((7, 7))) > 0
        for number, (old, new) in enumerate(zip(planes_of(before), planes_of(after), strict=True)):
            outside = ~(touched if number == 0 else touched[:, ::2] | touched[:, 1::2])
            assert np.array_equal(old[outside], new[outside])
            changed += int((old != new).sum())
    assert changed > 10000
