"""Runs with cues: frames and sound outside the cues, easing, and several people."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import retalkit
from retalkit.config import RunConfig
from retalkit.cues.model import Cue, CueSheet
from retalkit.errors import CueError, RetalkitError
from retalkit.media.sound import open_sound
from retalkit.media.sources import open_source
from retalkit.observer import SilentObserver
from retalkit.persons.grouping import group_tracklets
from retalkit.persons.selectors import parse_selector
from retalkit.pipeline.analysis_store import LimitedSource
from retalkit.pipeline.clip_persons import find_persons
from retalkit.pipeline.edit_strength import Absence, EditStrength, opacity
from retalkit.pipeline.keys import analysis_keys, descriptors_key, speech_key, tracklets_key
from retalkit.pipeline.person_selection import PersonSelection
from retalkit.pipeline.plan import plan
from retalkit.pipeline.record import RunRecord
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.discovery import discover
from retalkit.storage.cache import Cache, content_hash
from skimage import io

from tests.composed_clips import compose

RATE = 44100


def planes(path: Path) -> list[np.ndarray]:
    """Decoded YUV frames of a video."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def interview(moving_head: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``moving_head`` with a stereo tone as lossless sound."""
    path = tmp_path_factory.mktemp("interview") / "interview.mkv"
    times = np.arange(3 * RATE) / RATE
    tone = 0.2 * np.sin(2 * np.pi * times[:, None] * [220.0, 331.0])
    samples = (tone * 32767).astype(np.int16)
    with av.open(str(moving_head)) as source, av.open(str(path), "w") as target:
        video = target.add_stream_from_template(source.streams.video[0])
        sound = target.add_stream("pcm_s16le", rate=RATE)
        sound.layout = "stereo"
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                target.mux(packet)
        for start in range(0, len(samples), 4410):
            frame = av.AudioFrame.from_ndarray(
                samples[start : start + 4410].reshape(1, -1), format="s16", layout="stereo"
            )
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            target.mux(sound.encode(frame))
        target.mux(sound.encode())
    return path


@pytest.fixture(scope="module")
def corrected(interview: Path, short_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    folder = tmp_path_factory.mktemp("corrected")
    sheet = CueSheet(
        cues=(
            Cue(start=0.6, stop=1.6, speech=short_speech, offset=0.2),
            Cue(start=2.0, stop=2.6, speech=short_speech),
        )
    )
    config = RunConfig.from_preset("embedded", registry=discover(), overrides=["output.codec=ffv1"])
    return retalkit.dub(interview, None, folder / "out.mkv", cues=sheet, config=config, cache=folder / "cache")


def inside(times: np.ndarray) -> np.ndarray:
    return ((times >= 0.6) & (times < 1.6)) | ((times >= 2.0) & (times < 2.6))


def test_frames_outside_the_cues_are_bit_identical(corrected: RunRecord, interview: Path) -> None:
    before, after = planes(interview), planes(corrected.output)
    assert len(before) == len(after) == 75
    changed = np.array([(one != other).any() for one, other in zip(before, after, strict=True)])
    edited = inside(np.arange(75) / 25)
    assert not changed[~edited].any()
    # The strength is 0 in the first frame of a cue.
    assert changed[edited].sum() >= edited.sum() - 3
    assert corrected.edits[0]["ranges"] == [[0.64, 1.6], [2.04, 2.6]]
    assert corrected.frames_passed == {"outside the cues": 75 - corrected.frames_edited}
    assert corrected.persons[0]["id"] == "p1"
    assert corrected.unedited == []


def test_edit_begins_and_ends_without_a_jump(corrected: RunRecord, interview: Path) -> None:
    before, after = planes(interview), planes(corrected.output)
    change = np.array([np.abs(a.astype(int) - b).mean() for a, b in zip(before, after, strict=True)])
    # 0.2 s are five frames.
    largest = change[20:35].max()
    assert 0 < change[16] < 0.3 * largest
    assert change[39] < 0.3 * largest
    assert change[51] < 0.3 * largest


def test_sound_outside_the_cues_is_sample_identical(corrected: RunRecord, interview: Path) -> None:
    before, after = (
        np.concatenate(list(open_sound(path).native_chunks(RATE))) for path in (interview, corrected.output)
    )
    assert before.shape == after.shape
    edited = inside(np.arange(len(before)) / RATE)
    np.testing.assert_allclose(after[~edited], before[~edited], atol=1e-4)
    speech = np.concatenate(list(open_sound(corrected.cues[0]["speech"]).chunks(RATE)))
    heard, said = after[round(0.7 * RATE) : round(1.5 * RATE), 0], speech[round(0.3 * RATE) : round(1.1 * RATE)]
    assert np.corrcoef(heard, said)[0, 1] > 0.99


def test_strength_eases_inside_the_range_only() -> None:
    strength = EditStrength([(1.0, 2.0), (2.0, 3.0), (9.0, 10.0)], 10.0, 0.04)
    times = np.array([0.99, 1.0, 1.1, 1.2, 2.0, 2.9, 3.0, 9.0, 9.5, 9.99])
    np.testing.assert_allclose(strength(times), [0, 0, 0.5, 1, 1, 0.5, 0, 0, 1, 1], atol=1e-6)


def test_strength_eases_next_to_absences_but_not_at_cuts() -> None:
    absences = (Absence(1.0, 1.4, True, False), Absence(3.0, 3.0, False, True))
    strength = EditStrength([(0.0, 5.0)], 5.0, 0.1, absences)
    times = np.array([0.5, 0.8, 0.9, 1.5, 2.9, 3.1, 3.2, 4.9])
    np.testing.assert_allclose(strength(times), [1, 1, 0.5, 1, 1, 0.5, 1, 1], atol=1e-6)
    assert strength.identity() != EditStrength([(0.0, 5.0)], 5.0, 0.1).identity()


def test_edits_of_lip_syncers_that_do_not_ease_fade_over_the_whole_transition() -> None:
    strength = np.array([0.0, 0.1, 0.35, 0.5, 0.9, 1.0], np.float32)
    np.testing.assert_array_equal(opacity(strength, False), strength)
    np.testing.assert_allclose(opacity(strength, True), [0, 0.198, 1, 1, 1, 1], atol=2e-3)


@pytest.mark.parametrize("override", ["face=1", "extend=loop"])
def test_options_without_an_effect_on_cues_are_rejected(
    override: str, moving_head: Path, short_speech: Path, tmp_path: Path
) -> None:
    config = RunConfig.from_preset("embedded", registry=discover(), overrides=[override])
    sheet = CueSheet(cues=(Cue(speech=short_speech),))
    with pytest.raises(CueError) as error:
        retalkit.dub(moving_head, None, tmp_path / "out.mp4", cues=sheet, config=config, cache=tmp_path)
    assert error.value.code == "unused-option" and override.replace("=", ": ") in str(error.value)


def test_audio_track_of_the_speech_is_checked_and_part_of_the_key(
    moving_head: Path, short_speech: Path, tmp_path: Path
) -> None:
    registry = discover()
    config = RunConfig.from_preset("embedded", registry=registry, overrides=["speech_track=7"])
    for speech, sheet in ((short_speech, None), (None, CueSheet(cues=(Cue(speech=short_speech),)))):
        with pytest.raises(RetalkitError) as error:
            retalkit.dub(moving_head, speech, tmp_path / "out.mp4", cues=sheet, config=config, cache=tmp_path)
        assert error.value.code == "no-audio-track"
    first, default = (
        speech_key(plan(RunConfig.from_preset("embedded", registry=registry, overrides=[text]), registry), "hash")
        for text in ("speech_track=0", "speech_track=null")
    )
    assert first != default


def test_two_people_are_recognised_after_they_swap_and_return(shared_media: Path, tmp_path: Path) -> None:
    def places(number: int) -> tuple[float, float]:
        if number < 20:
            return 0.0, 1.0
        if number < 40:
            return 1.0, 0.0
        return (1.0, 0.0) if number >= 56 else (1.0, 3.0)

    man, woman = shared_media / "talk_man_700p22.mp4", shared_media / "talk_woman_590p25.mp4"
    clip = compose(tmp_path / "swap.mp4", man, woman, places, side=224, count=72)
    registry = discover()
    source = open_source(clip)
    limited = LimitedSource(source, source.info.frame_count)
    wide = source.info.width
    for name in ("appearance", "dlib"):
        if name == "dlib":
            pytest.importorskip("dlib", reason="the network needs the extra: pip install 'retalkit[identity]'")
        chosen = plan(RunConfig.from_preset("embedded", registry=registry, overrides=[f"recogniser={name}"]), registry)
        steps = ClipSteps(chosen, Cache(tmp_path / "cache"), SilentObserver())
        keys = analysis_keys(chosen, content_hash(clip), limited.info.frame_count)
        key = tracklets_key(keys.detections)
        tracked = steps.tracklets(steps.detect(limited, keys), key)
        descriptors = steps.descriptors(limited, tracked, descriptors_key(chosen, key))
        persons = group_tracklets(tracked.tracklets, descriptors, steps.recogniser().distance)
        assert len(persons.persons) == 2
        table = tracked.table()
        for person in persons.persons:
            rows = np.isin(table.tracklets, person.tracklets)
            frames, right = table.frames[rows], table.centres[rows] > wide / 2
            is_man = not right[0]
            # The man is at the left only before the swap, and the woman is absent for a time.
            assert (right == ((frames >= 20) == is_man)).all()
            assert len(frames) > (65 if is_man else 48)


def test_persons_of_a_photo_are_selected_by_all_selectors(shared_media: Path, tmp_path: Path) -> None:
    clip = compose(
        tmp_path / "two.mp4",
        shared_media / "talk_man_700p22.mp4",
        shared_media / "talk_woman_590p25.mp4",
        lambda _: (0.0, 1.0),
        count=1,
    )
    photo = tmp_path / "two.png"
    with av.open(str(clip)) as container:
        image = next(container.decode(video=0)).to_ndarray(format="rgb24")
    io.imsave(photo, image, check_contrast=False)
    registry = discover()
    steps = ClipSteps(
        plan(RunConfig.from_preset("embedded", registry=registry, overrides=["recogniser=appearance"]), registry),
        Cache(tmp_path / "cache"),
        SilentObserver(),
    )
    limited = LimitedSource(open_source(photo), 1)
    found = find_persons(steps, limited, content_hash(photo), always_describe=True)
    assert len(found.persons.persons) == len(found.descriptors) == 2
    reference = Path("man.png")
    tracked = found.tracked.table()
    man = int(tracked.tracklets[tracked.centres.argmin()])
    selection = PersonSelection(
        found.persons,
        tracked,
        limited.times(0, 1),
        limited.info.width,
        {str(reference): found.descriptors[man]},
        found.descriptors,
        found.distance,
        is_photo=True,
    )
    for name, expected in (("left", True), ("0", True), ("1", False), ("right", False), ("man.png", True)):
        sheet = CueSheet(
            cues=(Cue(start=0.5, stop=1.5, person=name, speech=Path("unused.wav")),),
            persons={name: parse_selector(name)},
        )
        assert (selection.select(sheet)[0].person.tracklets == (man,)) == expected, name
