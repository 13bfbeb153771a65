"""Timelines of the output."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from media_clips import frame_image, make_clip, steady_clip
from retalkit.errors import InputError
from retalkit.media.sources import open_source
from retalkit.media.timeline import OutputTimeline, build_timeline

TICKS = [0, 2, 3, 7, 8]
"""Tenths of a second; the duration of the last frame is that of the file."""


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("timeline") / "uneven.mkv"
    return open_source(make_clip(path, [tick * 100 for tick in TICKS], Fraction(1, 1000), rate=10))


@pytest.fixture(scope="module")
def even(tmp_path_factory: pytest.TempPathFactory):
    return open_source(steady_clip(tmp_path_factory.mktemp("timeline") / "even.mp4", 10))


def sources_and_times(timeline: OutputTimeline) -> tuple[list[int], list[float]]:
    return timeline.sources(0, timeline.count).tolist(), timeline.times(0, timeline.count).tolist()


def check_invariants(timeline: OutputTimeline) -> None:
    """Check the properties of every timeline."""
    count = timeline.count
    times, durations = timeline.times(0, count), timeline.durations(0, count)
    assert len(times) == len(durations) == len(timeline.sources(0, count)) == count
    assert times[0] == 0 and np.all(durations > 0)
    assert np.allclose(times + durations, np.append(times[1:], timeline.duration), rtol=0, atol=1e-9)
    for start, stop in ((0, 1), (count - 1, count), (count // 3, count // 2 + 1)):
        assert np.array_equal(timeline.times(start, stop), times[start:stop])
        assert np.array_equal(timeline.durations(start, stop), durations[start:stop])
        assert np.array_equal(timeline.sources(start, stop), timeline.sources(0, count)[start:stop])
    assert len(timeline.times(count, count + 5)) == 0


def test_shorter_speech_shortens_the_last_frame(even) -> None:
    timeline = build_timeline(even, 0.2503)
    check_invariants(timeline)
    sources, times = sources_and_times(timeline)
    assert sources == list(range(7))
    assert times == pytest.approx(np.arange(7) / 25)
    assert timeline.duration == 0.2503
    assert timeline.durations(6, 7)[0] == pytest.approx(0.0103)
    assert timeline.note == ""


def test_very_short_last_frame_is_dropped(even) -> None:
    timeline = build_timeline(even, 0.2401)
    check_invariants(timeline)
    assert timeline.count == 6 and timeline.duration == 0.2401


def test_length_of_the_video(even) -> None:
    for speech in (0.1, 5.0):
        timeline = build_timeline(even, speech, "video")
        check_invariants(timeline)
        assert sources_and_times(timeline)[0] == list(range(10))
        assert timeline.duration == pytest.approx(0.4)
        assert bool(timeline.note) == (speech > 1)


def test_pingpong_mirrors_order_and_steps(uneven) -> None:
    timeline = build_timeline(uneven, 2.5, extend="pingpong")
    check_invariants(timeline)
    sources, times = sources_and_times(timeline)
    assert sources == [0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3, 4]
    assert times == pytest.approx([0, 0.2, 0.3, 0.7, 0.8, 0.9, 1.3, 1.4, 1.6, 1.8, 1.9, 2.3, 2.4])
    assert timeline.duration == 2.5
    assert "backward" in timeline.note and "\n" not in timeline.note


@pytest.mark.parametrize("extend", ["pingpong", "loop", "freeze"])
def test_half_a_frame_gives_no_note(even, extend: str) -> None:
    assert build_timeline(even, 0.42, extend=extend).note == ""
    assert "0.60 s longer" in build_timeline(even, 1.0, extend=extend).note


def test_loop_restarts_after_the_last_frame(uneven) -> None:
    end = uneven.info.duration
    timeline = build_timeline(uneven, 2 * end + 0.25, extend="loop")
    check_invariants(timeline)
    sources, times = sources_and_times(timeline)
    assert sources == [*range(5), *range(5), 0, 1]
    assert times[5:7] == pytest.approx([end, end + 0.2])


def test_freeze_repeats_the_last_frame_at_the_mean_rate(even) -> None:
    timeline = build_timeline(even, 0.61, extend="freeze")
    check_invariants(timeline)
    sources, times = sources_and_times(timeline)
    assert sources == [*range(10), *[9] * 6]
    assert times == pytest.approx(np.arange(16) / 25)


def test_cut_ends_with_the_video(even) -> None:
    timeline = build_timeline(even, 7.0, extend="cut")
    check_invariants(timeline)
    assert timeline.count == 10 and timeline.duration == pytest.approx(0.4)
    assert "6.60 s" in timeline.note


@pytest.mark.parametrize("extend", ["pingpong", "loop", "freeze"])
@pytest.mark.parametrize("speech", [0.41, 0.72, 0.76, 0.8, 1.44, 123.456, 600.0])
def test_output_ends_with_the_speech(even, uneven, extend, speech: float) -> None:
    for source in (even, uneven):
        timeline = build_timeline(source, speech, extend=extend)
        check_invariants(timeline)
        assert timeline.duration == speech
        assert timeline.durations(0, timeline.count).max() < 0.6


def test_single_frame_and_photo(tmp_path: Path) -> None:
    single = open_source(steady_clip(tmp_path / "one.mp4", 1))
    for extend in ("pingpong", "loop", "freeze"):
        timeline = build_timeline(single, 0.5, extend=extend)
        check_invariants(timeline)
        assert set(sources_and_times(timeline)[0]) == {0}
    cv2.imwrite(str(tmp_path / "photo.png"), frame_image(1))
    for length in ("speech", "video"):
        timeline = build_timeline(open_source(tmp_path / "photo.png"), 2.01, length)
        check_invariants(timeline)
        assert timeline.count == 51 and timeline.times(50, 51)[0] == 2.0
        assert timeline.note == ""


def test_speech_without_length(even) -> None:
    with pytest.raises(InputError) as error:
        build_timeline(even, 0.0)
    assert error.value.code == "empty-audio"
