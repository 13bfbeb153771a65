"""Quality gates on a dubbed clip: facts, verdicts and frame numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from retalkit.batch.gate_limits import GateLimits
from retalkit.batch.gate_results import needs_review, review_text
from retalkit.batch.gates import evaluate_gates
from retalkit.config import RunConfig
from retalkit.observer import SilentObserver
from retalkit.pipeline.plan import plan
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.discovery import discover
from retalkit.storage.cache import Cache
from scipy.io import wavfile


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def gates_of(
    output: Path, cache: Path, limits: GateLimits, overrides: Sequence[str] = (), **job: object
) -> dict[str, dict[str, Any]]:
    registry = discover()
    chosen = plan(RunConfig.from_preset(registry=registry, overrides=overrides), registry)
    steps = ClipSteps(chosen, Cache(cache), SilentObserver())
    payload = {"video": str(output), "reference": None, "transcript": None, "speech": None, **job}
    results = evaluate_gates(limits.plain(), output, steps, registry, payload)
    json.dumps(results)
    return {each["gate"]: each for each in results}


def test_mouth_that_moves_in_silence_needs_review(
    talking_head: Path, short_speech: Path, cache: Path, tmp_path: Path
) -> None:
    silence = tmp_path / "silence.wav"
    wavfile.write(silence, 16000, np.zeros(32000, np.int16))
    limits = GateLimits(silence=0.1)
    found = gates_of(talking_head, cache, limits, speech=str(silence), reference=str(talking_head))
    assert found["silence"]["verdict"] == "review" and found["silence"]["value"] > 0.3
    first, last = found["silence"]["frames"][0][0], found["silence"]["frames"][-1][1]
    assert 0 <= first < last < 50
    # The clip is its own reference.
    assert found["lips"]["verdict"] == "passed" and found["lips"]["value"] > 0.95
    spoken = gates_of(talking_head, cache, limits, speech=str(short_speech))
    assert spoken["silence"]["verdict"] != "review" and "lips" not in spoken
    assert needs_review(found.values()) and not needs_review(spoken.values())


def test_unedited_and_lost_frames_are_listed(talking_head: Path, cache: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    shutil.copy(talking_head, output)
    record = json.loads(Path(f"{talking_head}.json").read_text(encoding="utf-8"))
    record |= {"frames_edited": 20, "frames_passed": {"no face": 20, "face turned away": 5, "outside the cues": 5}}
    record["unedited"] = [
        {"person": "largest", "reason": "no face", "ranges": [[0.4, 0.8], [1.0, 1.4]]},
        {"person": "largest", "reason": "face turned away", "ranges": [[1.4, 1.6]]},
    ]
    Path(f"{output}.json").write_text(json.dumps(record), encoding="utf-8")
    found = gates_of(output, cache, GateLimits(edited=0.5, face_lost=0.2))
    assert found["edited"] | {"text": ""} == {
        "gate": "edited",
        "verdict": "review",
        "value": 0.4444,
        "limit": 0.5,
        "text": "",
        "frames": [[10, 19], [25, 39]],
        "seconds": [0.4, 1.0],
    }
    assert "edited 0.4444 (minimum 0.5)" in review_text(found.values())
    assert "frames 10-19, 25-39; face_lost" in review_text(found.values())
    assert found["face_lost"]["frames"] == [[10, 19], [25, 34]]
    assert found["drift"]["verdict"] == "passed"
    lenient = gates_of(output, cache, GateLimits(edited=0.4, face_lost=0.5, drift=None))
    assert {each["verdict"] for each in lenient.values()} == {"passed"} and "drift" not in lenient


def test_audio_that_ends_after_the_video_needs_review(talking_head: Path, cache: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    shutil.copy(Path(f"{talking_head}.json"), Path(f"{output}.json"))
    with av.open(str(talking_head)) as source, av.open(str(output), "w") as target:
        video = target.add_stream_from_template(source.streams.video[0])
        audio = target.add_stream("aac", rate=48000, layout="mono")
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                target.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000 * 22 // 10), np.int16), layout="mono")
        frame.rate = 48000
        target.mux([*audio.encode(frame), *audio.encode()])
    drift = gates_of(output, cache, GateLimits(edited=None, face_lost=None))["drift"]
    # 0.2 s are five frames.
    assert drift["verdict"] == "review" and drift["value"] == pytest.approx(5, abs=0.8)
    assert drift["frames"] == [[49, 49]]


def test_damaged_video_needs_review(talking_head: Path, moving_head: Path, cache: Path, tmp_path: Path) -> None:
    packets: list[tuple[int, int]] = []
    with av.open(str(moving_head)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.pos and packet.pts]
    data = bytearray(moving_head.read_bytes())
    for position, size in packets[40:]:
        data[position : position + size] = bytes([255]) * size
    video = tmp_path / "damaged.mp4"
    video.write_bytes(data)
    limits = GateLimits(edited=None, face_lost=None, drift=None)
    found = gates_of(talking_head, cache, limits, video=str(video))["damaged"]
    assert found["verdict"] == "review" and 0.3 < found["value"] < 0.6
    ((first, last),) = found["frames"]
    assert 30 < first < 45 and last == 49
    assert found["seconds"] == [pytest.approx(first / 25, abs=1e-3)]
    assert gates_of(talking_head, cache, limits, video=str(video)) == {"damaged": found}
    assert gates_of(talking_head, cache, limits, video=str(moving_head))["damaged"]["verdict"] == "passed"


def test_lips_that_differ_from_reference_or_transcript_need_review(
    talking_head: Path, short_speech: Path, cache: Path, tmp_path: Path
) -> None:
    limits = GateLimits(edited=None, face_lost=None, drift=None, damaged=None, lips=0.95)
    reference = tmp_path / "frozen.mp4"
    with av.open(str(talking_head)) as source, av.open(str(reference), "w") as target:
        stream = target.add_stream("libx264", rate=25, options={"crf": "16", "preset": "veryfast"})
        stream.width, stream.height = source.streams.video[0].width, source.streams.video[0].height
        images = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
        for image in [*images[:30], *images[30:31] * 20]:
            target.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        target.mux(stream.encode())
    found = gates_of(talking_head, cache, limits, speech=str(short_speech), reference=str(reference))["lips"]
    assert found["verdict"] == "review" and found["value"] < 0.95
    assert found["frames"][0][0] > 0 and found["frames"][-1][1] == 49, found
    pytest.importorskip("espeakng_loader", reason="transcripts need the extra: pip install 'retalkit[transcript]'")
    words = tmp_path / "words.txt"
    words.write_text("A different sentence with other words.", encoding="utf-8")
    driver = f"lip_syncer.driver={{use: model, transcript: {words}}}"
    wrong = gates_of(talking_head, cache, limits, [driver], speech=str(short_speech), transcript=str(words))["lips"]
    assert wrong["verdict"] == "review" and "does not match" in wrong["text"]
