"""Full runs on a small clip: output, cache and record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import retalkit
from retalkit.config import RunConfig
from retalkit.errors import InputError, OutputError
from retalkit.geometry import mesh_space
from retalkit.geometry.pose import person_template, rigid_fit, to_head_frame
from retalkit.imaging.compositing import shift_matrix
from retalkit.media.sources import open_source
from retalkit.pipeline.analysis_store import StoredAnalysis
from retalkit.pipeline.preview import Preview
from retalkit.pipeline.record import RunRecord
from retalkit.plugins import StageSpec
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import FoundStage
from retalkit.provenance.verification import State, verify
from retalkit.stages import DetectionClip, FaceEdit, FrameBatch, StageContext, StageKind, SyncBatch
from scipy.io import wavfile

from tests.packets import packets


def write_wav(path: Path, samples: np.ndarray, rate: int = 16000) -> Path:
    wavfile.write(path, rate, (np.clip(samples, -1, 1) * 32767).astype(np.int16))
    return path


def frames_of(path: Path) -> Iterator[np.ndarray]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def tracked_openings(path: Path, tmp_path: Path) -> np.ndarray:
    """Return the lip opening of each frame in face heights, measured by a new detector."""
    from retalkit.observer import SilentObserver
    from retalkit.storage.cache import Folder

    source = open_source(path)
    spec = discover().find(StageKind.DETECTOR, "mediapipe").spec
    session = spec.make(spec.config()).open(
        DetectionClip(source=source.info), StageContext(Folder(tmp_path / "track"), SilentObserver())
    )
    rows = []
    for index, image in source.read(range(source.info.frame_count)):
        faces = session.detect(FrameBatch(image[None], source.times(index, index + 1), np.array([index])))[0]
        assert len(faces) == 1
        rows.append(faces[0].landmarks)
    session.close()
    landmarks = np.stack(rows)
    stable = list(mesh_space.mesh478.STABLE)
    head = to_head_frame(landmarks, rigid_fit(landmarks[:, stable], person_template(landmarks)[stable]))
    return mesh_space.opening(head) / mesh_space.face_height(head)


@pytest.fixture(scope="module")
def dubbed(moving_head: Path, short_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    folder = tmp_path_factory.mktemp("dubbed")
    return retalkit.dub(moving_head, short_speech, folder / "out.mp4", cache=folder / "cache")


def test_output_plays_with_the_speech_as_sound(dubbed: RunRecord, short_speech: Path) -> None:
    with av.open(str(dubbed.output)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.audio[0].codec_context.name == "aac"
        times = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(50) / 25, atol=1e-4)
    with av.open(str(dubbed.output)) as container:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    said = wavfile.read(short_speech)[1] / 32768
    common = min(len(heard), len(said))
    assert abs(len(heard) - len(said)) < 2048
    lags = range(-400, 401, 8)
    match = [np.dot(np.roll(heard[:common], lag), said[:common]) for lag in lags]
    assert abs(lags[int(np.argmax(match))]) <= 16  # one millisecond


def test_lips_move_and_the_rest_of_the_image_does_not(dubbed: RunRecord, moving_head: Path, tmp_path: Path) -> None:
    openings = tracked_openings(dubbed.output, tmp_path)
    before = tracked_openings(moving_head, tmp_path)[: len(openings)]
    assert np.std(openings) > 3 * np.std(before)
    for old, new in zip(frames_of(moving_head), frames_of(dubbed.output), strict=False):
        # The upper third of the frame is hair and wall: only the codec may touch it.
        assert np.abs(old[:200].astype(int) - new[:200]).mean() < 2.0


def test_record_describes_the_run(dubbed: RunRecord) -> None:
    stored = json.loads(dubbed.record.read_text())
    assert stored["frames_edited"] == 50
    assert stored["frames_passed"] == {}
    assert stored["edits"] == [{"person": "largest", "ranges": [[0.0, 2.0]]}]
    assert stored["digital_source_type"] == "algorithmicallyEnhanced"
    assert stored["finishers"]["content_credentials"]["origin"] == "local"
    found = verify(dubbed.output)
    assert (found.state, found.problems) == (State.TRUSTED, ())
    assert found.run_record is not None
    assert found.run_record["inputs"]["video_sha256"] == stored["inputs"]["video_sha256"]
    assert stored["output_seconds"] == pytest.approx(2.0)
    assert {"speech", "faces", "tracks", "coefficients", "lips", "render", "join"} <= set(stored["seconds"])
    assert stored["configuration"]["lip_syncer"]["use"] == "exemplar"
    assert stored["versions"]["mediapipe"] == "0.10.21"
    assert len(stored["weights"]["lip_syncer.driver.weights"]) == 64
    assert len(stored["inputs"]["video_sha256"]) == 64
    assert stored["peak_memory_bytes"] > 50e6


def test_repeated_run_computes_nothing_and_writes_the_same_packets(
    dubbed: RunRecord, moving_head: Path, short_speech: Path
) -> None:
    cache = dubbed.output.parent / "cache"
    again = retalkit.dub(moving_head, short_speech, dubbed.output.with_name("again.mp4"), cache=cache)
    assert {"speech", "faces", "tracks", "coefficients", "render"} <= set(again.cached_steps)
    assert packets(again.output) == packets(dubbed.output)


def test_other_enhancer_reuses_everything_before_it(dubbed: RunRecord, moving_head: Path, short_speech: Path) -> None:
    config = RunConfig.from_preset("embedded", registry=discover(), overrides=["enhancers=[none]"])
    cache = dubbed.output.parent / "cache"
    plan = dubbed.artefacts["mouth_plan"].read_bytes()
    other = retalkit.dub(moving_head, short_speech, dubbed.output.with_name("none.mp4"), cache=cache, config=config)
    assert {"speech", "faces", "coefficients"} <= set(other.cached_steps)
    assert other.artefacts["mouth_plan"] == dubbed.artefacts["mouth_plan"]
    assert other.artefacts["mouth_plan"].read_bytes() == plan
    assert "render" not in other.cached_steps


def test_cache_is_keyed_by_content_not_by_name(dubbed: RunRecord, moving_head: Path, tmp_path: Path) -> None:
    cache = dubbed.output.parent / "cache"
    renamed = tmp_path / "other name.mp4"
    renamed.write_bytes(moving_head.read_bytes())
    quiet = write_wav(tmp_path / "short.wav", np.zeros(16000))
    record = retalkit.dub(renamed, quiet, tmp_path / "out.mp4", cache=cache)
    assert "faces" in record.cached_steps
    assert "speech" not in record.cached_steps


@pytest.mark.parametrize("noise", ["silence", "white", "hum"])
def test_mouth_rests_without_speech(noise: str, moving_head: Path, tmp_path: Path) -> None:
    time = np.arange(16000) / 16000
    samples = {
        "silence": np.zeros(16000),
        "white": 0.1 * np.random.default_rng(0).standard_normal(16000),
        "hum": 0.2 * np.sin(2 * np.pi * 50 * time) + 0.1 * np.sin(2 * np.pi * 150 * time),
    }[noise]
    record = retalkit.dub(
        moving_head, write_wav(tmp_path / "noise.wav", samples), tmp_path / "out.mp4", cache=tmp_path / "cache"
    )
    with np.load(record.artefacts["mouth_plan"]) as plan:
        assert np.percentile(plan["opening"] / plan["face_height"], 98) <= 0.01
    assert any("rest" in note for note in record.notes)


def test_photo_can_be_dubbed(short_speech: Path, tmp_path: Path) -> None:
    from skimage import data, io

    io.imsave(tmp_path / "face.png", data.astronaut()[:300, 80:380], check_contrast=False)

    def images(motion: str) -> np.ndarray:
        config = RunConfig.from_preset(registry=discover(), overrides=[f"photo.motion={motion}"])
        output = tmp_path / f"{motion}.mp4"
        record = retalkit.dub(tmp_path / "face.png", short_speech, output, config=config, cache=tmp_path / "cache")
        assert record.frames_edited == 50
        return np.stack(list(frames_of(record.output))).astype(int)

    still, moving = images("none"), images("gentle")
    assert still.shape == moving.shape == (50, 300, 300, 3)
    assert np.abs(still - still[0]).max() > 30
    # The forehead moves in one output only, the background in the corner in neither.
    forehead, corner = np.s_[:, 60:100, 120:170], np.s_[:, :50, 230:]
    assert np.abs(moving - moving[0])[forehead].max() > 20 > np.abs(still - still[0])[forehead].max()
    assert np.abs(moving - still)[corner].max() <= 10


def test_clip_without_a_face_is_rejected(short_speech: Path, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "wall.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _ in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((240, 320, 3), 90, np.uint8))))
        container.mux(stream.encode())
    with pytest.raises(InputError, match=r"wall\.mp4") as error:
        retalkit.dub(tmp_path / "wall.mp4", short_speech, tmp_path / "out.mp4", cache=tmp_path / "cache")
    assert error.value.code == "no-face"
    assert not (tmp_path / "out.mp4").exists()


class Astray:
    """A lip syncer whose edits are outside the frame (even positions) or fully faded."""

    def open(self, *given: object) -> Astray:
        return self

    def sync(self, batch: SyncBatch) -> list[FaceEdit]:
        image = np.zeros((9, 9, 3), np.uint8)
        outside = FaceEdit(image, np.ones((9, 9), np.float32), shift_matrix(-200, -200))
        faded = FaceEdit(image, np.zeros((9, 9), np.float32), shift_matrix(9, 9), 0.0, "large yaw")
        return [faded if position % 2 else outside for position in batch.positions]

    def close(self) -> None: ...


def test_edit_outside_the_frame_counts_as_passed_through(moving_head: Path, short_speech: Path, tmp_path: Path) -> None:
    registry = discover()
    spec = StageSpec(
        kind=StageKind.LIP_SYNCER,
        name="astray",
        summary="Edits outside the frame.",
        build=lambda config, runtime: Astray(),
        api=2,
        licence="MIT",
        needs=frozenset({"frames"}),
        gives=frozenset({"face:edit"}),
    )
    registry.stages.append(FoundStage(spec, "tests", "0", "tests"))
    config = RunConfig.from_preset(registry=registry, overrides=["lip_syncer=astray", "enhancers=[]"])
    run = {"config": config, "registry": registry, "cache": tmp_path / "cache"}
    first = retalkit.dub(moving_head, short_speech, tmp_path / "out.mp4", **run)
    stored = retalkit.dub(moving_head, short_speech, tmp_path / "again.mp4", **run)
    for record in (first, stored):
        assert record.frames_passed == {"edit outside the frame": 25}
        assert (record.frames_edited, record.frames_faded) == (25, {"large yaw": 25})
        assert record.edits[0]["ranges"] == [[n / 25, (n + 1) / 25] for n in range(1, 50, 2)]


def test_cuts_and_faceless_frames_pass_through(shared_media: Path, short_speech: Path, tmp_path: Path) -> None:
    clip = shared_media / "cuts_and_faceless_640x360p2997.mp4"
    config = RunConfig.from_preset("embedded", registry=discover(), overrides=["length=video"])
    record = retalkit.dub(clip, short_speech, tmp_path / "out.mp4", cache=tmp_path / "cache", config=config)
    source, result = open_source(clip), open_source(record.output)
    count = source.info.frame_count
    faces = next(path.parent for path in (tmp_path / "cache").rglob("track.json"))
    analysis = StoredAnalysis(source, faces)
    boxes, shots = analysis.boxes(0, count), analysis.tracks(0, count)
    np.testing.assert_array_equal(np.isfinite(boxes).all(axis=1), shots >= 0)
    middle = analysis.landmarks(0, count)[shots >= 0][:, :, :2].mean(axis=1)
    assert ((boxes[shots >= 0, :2] < middle) & (middle < boxes[shots >= 0, 2:])).all()
    assert result.info.frame_count == count == record.frames_edited + sum(record.frames_passed.values())
    np.testing.assert_allclose(result.times(0, count), source.times(0, count), atol=2e-4)
    assert record.frames_passed["no face"] > 100
    ranges = np.array(record.edits[0]["ranges"])
    assert (ranges[1:, 0] > ranges[:-1, 1]).all()
    assert np.diff(ranges).sum() * float(source.rate) == pytest.approx(record.frames_edited, abs=1)
    # The first shot has no face to edit: only the codec changes its frames.
    for (_, old), (_, new) in zip(source.read(range(0, 60, 12)), result.read(range(0, 60, 12)), strict=True):
        assert np.abs(old.astype(int) - new).mean() < 2.0


def test_a_preview_is_a_reduced_part_of_the_output(
    dubbed: RunRecord, moving_head: Path, short_speech: Path, tmp_path: Path
) -> None:
    preview = Preview(seconds=0.6, at=1.0, longest=224)
    cache = dubbed.output.parent / "cache"
    record = retalkit.dub(moving_head, short_speech, tmp_path / "preview.mp4", cache=cache, preview=preview)
    assert {"faces", "tracks", "coefficients", "speech"} <= set(record.cached_steps)
    assert record.preview == {"from": 0.72, "to": 1.32, "size": [224, 224]}
    whole = list(frames_of(dubbed.output))[18:33]
    parts = list(frames_of(record.output))
    assert len(parts) == 15
    for part, frame in zip(parts, whole, strict=True):
        half = frame.reshape(224, 2, 224, 2, 3).mean(axis=(1, 3))
        assert np.abs(part - half).mean() < 3
    with av.open(str(record.output)) as container:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    said = wavfile.read(short_speech)[1][round(0.72 * 16000) :][: round(0.6 * 16000)] / 32768
    assert np.corrcoef(heard[: len(said)], said)[0, 1] > 0.95


@pytest.mark.parametrize("given", [{"seconds": 0.0}, {"seconds": 61.0}, {"at": -1.0}, {"at": float("nan")}])
def test_impossible_previews_are_rejected(given: dict[str, float]) -> None:
    with pytest.raises(OutputError) as error:
        Preview(**given)
    assert error.value.code == "invalid-preview"
