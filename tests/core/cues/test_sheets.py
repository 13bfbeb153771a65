"""Reading and validation of cue sheets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from retalkit.cues.command_line import sheet_from_options
from retalkit.cues.model import Cue, CueSheet
from retalkit.cues.sheet_file import read_sheet
from retalkit.cues.validation import check_cues
from retalkit.errors import RetalkitError
from retalkit.persons.selectors import PersonSelector, parse_selector
from scipy.io import wavfile

VIDEO_SECONDS = 10.0
GOOD = "{from: 1, to: 2, speech: a.wav}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with speeches of 3 s and a file without sound."""
    path = tmp_path_factory.mktemp("sheets")
    for name in ("a.wav", "b.wav"):
        wavfile.write(path / name, 16000, np.full(48000, 1000, np.int16))
    (path / "broken.wav").write_bytes(b"no sound at all")
    (path / "empty.wav").touch()
    (path / "empty.jpg").touch()
    return path


def checked(folder: Path, name: str, text: str | bytes, **options: object) -> CueSheet:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return check_cues(read_sheet(path, **options), VIDEO_SECONDS).sheet  # type: ignore[arg-type]


def summary(sheet: CueSheet) -> list[tuple[object, ...]]:
    return [(cue.start, cue.stop, cue.person, cue.speech.name, cue.offset, cue.gain) for cue in sheet.cues]


def test_yaml_sheet(folder: Path) -> None:
    sheet = checked(
        folder,
        "good.yaml",
        "persons: {anna: left, ben: 1}\ncues:\n"
        "  - {from: 1.5, to: 3, person: anna, speech: {file: a.wav, offset: 0.5, gain: -3}}\n"
        "  - {from: 0:04, person: ben, speech: b.wav}\n  - {from: 3, to: 4, person: anna, speech: b.wav}\n",
    )
    assert summary(sheet) == [
        (1.5, 3.0, "anna", "a.wav", 0.5, -3.0),
        (4.0, 7.0, "ben", "b.wav", 0.0, 0.0),
        (3.0, 4.0, "anna", "b.wav", 0.0, 0.0),
    ]
    assert sheet.persons == {"anna": PersonSelector("left"), "ben": PersonSelector("index", 1)}
    assert [cue.start for cue in sheet.of_person("anna")] == [1.5, 3.0]
    assert sheet.listeners == "original"


def test_csv_sheet(folder: Path) -> None:
    text = "from;to;person;speech;offset\n\n1,5;00:00:03,5;left;a.wav;\n4;;right;b.wav;1\n"
    sheet = checked(folder, "good.csv", text)
    assert summary(sheet) == [(1.5, 3.5, "left", "a.wav", 0.0, 0.0), (4.0, 6.0, "right", "b.wav", 1.0, 0.0)]


SUBTITLES = """1
00:00:00,500 --> 00:00:01,000
ANNA: Hello!

2
00:00:00,900 --> 00:00:01,400
Anna Lee: not Anna

3
00:00:01,000 --> 00:00:01,500
[ANNA] And goodbye.
"""
VOICES = "WEBVTT\n\n00:00.500 --> 00:01.000\n<v ANNA>Hello</v>\n\n00:02.000 --> 00:02.500\n<v.loud Ben>No</v>\n"
RTTM = (
    "SPKR-INFO x 1 <NA> <NA> <NA> unknown ANNA <NA>\nSPEAKER x 1 .5 0.6 <NA> <NA> ANNA <NA> <NA>\n"
    "SPEAKER x 1 1.0 0.5 <NA> <NA> ANNA <NA> <NA>\nSPEAKER x 1 2.0 0.5 <NA> <NA> Ben <NA> <NA>\n"
)
LEFT, RIGHT = PersonSelector("left"), PersonSelector("right")


def test_diarised_sheets_play_one_recording_at_its_own_times(folder: Path) -> None:
    speech = folder / "a.wav"
    srt = checked(folder, "good.srt", SUBTITLES, speech=speech, bindings={"ANNA": LEFT, "Anna Lee": RIGHT})
    assert [(cue.start, cue.stop, cue.person) for cue in srt.cues] == [(0.5, 1.5, "ANNA"), (0.9, 1.4, "Anna Lee")]
    vtt = checked(folder, "good.vtt", VOICES, speech=speech, bindings={"ANNA": LEFT, "Ben": RIGHT})
    rttm = checked(folder, "good.rttm", RTTM, speech=speech, bindings={"ANNA": LEFT, "Ben": RIGHT})
    assert [cue.person for cue in vtt.cues] == [cue.person for cue in rttm.cues] == ["ANNA", "Ben"]
    # Overlapping segments of one speaker are one cue.
    assert [(cue.start, cue.stop, cue.offset) for cue in rttm.cues] == [(0.5, 1.5, 0.5), (2.0, 2.5, 2.0)]
    assert {srt.listeners, vtt.listeners, rttm.listeners} == {"rest"}


FAULTY: dict[str, tuple[str, str | bytes, str, str]] = {
    "start after stop": ("f.yaml", "cues:\n- {from: 3, to: 2, speech: a.wav}", "invalid-time", ":2"),
    "negative time": ("f.yaml", "cues:\n- {from: -1, to: 2, speech: a.wav}", "invalid-time", ":2"),
    "time is a word": ("f.yaml", "cues:\n- {from: soon, to: 2, speech: a.wav}", "invalid-time", ":2"),
    "time is infinite": ("f.yaml", "cues:\n- {from: .inf, speech: a.wav}", "invalid-time", ":2"),
    "seconds above 59": ("f.yaml", "cues:\n- {from: '0:75', speech: a.wav}", "invalid-time", ":2"),
    "starts after the video": ("f.yaml", "cues:\n- {from: 11, speech: a.wav}", "cue-after-end", ":2"),
    "ends after the video": ("f.yaml", "cues:\n- {from: 9, to: 12, speech: a.wav}", "cue-after-end", ":2"),
    "too short": ("f.yaml", "cues:\n- {from: 1, to: 1.01, speech: a.wav}", "cue-too-short", ":2"),
    "overlap": (
        "f.yaml",
        f"cues:\n- {GOOD}\n- {{from: 1.5, to: 3, speech: b.wav}}",
        "overlapping-cues",
        ":3",
    ),
    "overlap of an open end": ("f.yaml", f"cues:\n- {{speech: a.wav}}\n- {GOOD}", "overlapping-cues", ":3"),
    "no speech": ("f.yaml", "cues:\n- {from: 1, to: 2}", "missing-speech", ":2"),
    "missing file": ("f.yaml", "cues:\n- {speech: c.wav}", "file-not-found", ":2"),
    "file is a directory": ("f.yaml", "cues:\n- {speech: .}", "path-is-directory", ":2"),
    "file is empty": ("f.yaml", "cues:\n- {speech: empty.wav}", "empty-file", ":2"),
    "file has no sound": ("f.yaml", "cues:\n- {speech: broken.wav}", "unreadable-media", ":2"),
    "speech is a number": ("f.yaml", "cues:\n- {speech: 7}", "invalid-option", ":2"),
    "speech without a file": ("f.yaml", "cues:\n- {speech: {gain: 3}}", "invalid-option", ":2"),
    "offset twice": ("f.yaml", "cues:\n- {offset: 1, speech: {file: a.wav, offset: 1}}", "invalid-option", ":2"),
    "negative offset": ("f.yaml", "cues:\n- {offset: -1, speech: a.wav}", "invalid-option", ":2"),
    "offset after the speech": ("f.yaml", "cues:\n- {offset: 5, speech: a.wav}", "offset-after-end", ":2"),
    "gain too high": ("f.yaml", "cues:\n- {gain: 90, speech: a.wav}", "invalid-option", ":2"),
    "gain is a word": ("f.yaml", "cues:\n- {gain: loud, speech: a.wav}", "invalid-option", ":2"),
    "unknown person": ("f.yaml", "cues:\n- {person: ana, speech: a.wav}", "unknown-person", ":2"),
    "person is a list": ("f.yaml", "cues:\n- {person: [left], speech: a.wav}", "invalid-person", ":2"),
    "negative index": ("f.yaml", "persons: {anna: -1}\ncues:\n- {person: anna, speech: a.wav}", "invalid-person", ":1"),
    "invalid selector": ("f.yaml", "persons: {a: up}\ncues:\n- {person: a, speech: a.wav}", "invalid-person", ":1"),
    "missing image": ("f.yaml", "cues:\n- {person: anna.jpg, speech: a.wav}", "file-not-found", ":2"),
    "empty image": ("f.yaml", "cues:\n- {person: empty.jpg, speech: a.wav}", "empty-file", ":2"),
    "unknown key": ("f.yaml", "cues:\n- {form: 1, speech: a.wav}", "unknown-option", ":2"),
    "unknown section": ("f.yaml", f"listener: rest\ncues:\n- {GOOD}", "unknown-option", ":1"),
    "unknown listeners": ("f.yaml", f"listeners: silent\ncues:\n- {GOOD}", "invalid-option", ":1"),
    "duplicate key": ("f.yaml", "cues:\n- {from: 1, from: 2, speech: a.wav}", "duplicate-key", ":2"),
    "no cues": ("f.yaml", "cues: []", "empty-list", ":1"),
    "empty sheet": ("f.yaml", "", "empty-list", "f.yaml"),
    "cue is a word": ("f.yaml", "cues:\n- one", "not-a-mapping", ":2"),
    "invalid yaml": ("f.yaml", "cues:\n- {from: [}", "invalid-yaml", ":2"),
    "not UTF-8": ("f.csv", b"from,speech\n1,\xe4.wav", "unreadable-file", "f.csv"),
    "unknown suffix": ("f.txt", "from,speech", "wrong-suffix", "f.txt"),
    "unknown column": ("f.csv", "from,until,speech\n1,2,a.wav", "unknown-option", ":1"),
    "duplicate column": ("f.csv", "from,from,speech\n1,2,a.wav", "duplicate-key", ":1"),
    "unterminated quote": ("f.csv", 'from,speech\n1,"a.wav', "invalid-file", ":2"),
    "too many columns": ("f.csv", "from,speech\n1,a.wav,2", "invalid-file", ":2"),
    "no rows": ("f.csv", "from,to,speech\n", "empty-file", "f.csv"),
    "faulty row": ("f.csv", "from,to,speech\n1,2,a.wav\n3,x,a.wav", "invalid-time", ":3"),
    "invalid subtitle time": ("f.srt", "1\n00:00:01 --> 00:00:02\nA: b", "invalid-file", ":2"),
    "subtitle without a speaker": (
        "f.srt",
        "1\n00:00:01,000 --> 00:00:02,000\nANNA: b\n\n2\n00:00:02,000 --> 00:00:03,000\nwhat\n",
        "missing-speaker",
        ":6",
    ),
    "unbound speaker": ("f.srt", "1\n00:00:01,000 --> 00:00:02,000\nANNA: b", "missing-speech", ":2"),
    "no subtitles": ("f.vtt", "WEBVTT\n", "empty-file", "f.vtt"),
    "short rttm line": ("f.rttm", "SPEAKER x 1 0.5", "invalid-file", ":1"),
    "rttm without duration": ("f.rttm", "SPEAKER x 1 1 0 <NA> <NA> A <NA> <NA>", "invalid-file", ":1"),
    "several rttm recordings": (
        "f.rttm",
        "SPEAKER x 1 1 1 <NA> <NA> A <NA> <NA>\nSPEAKER y 1 3 1 <NA> <NA> A <NA> <NA>",
        "several-recordings",
        ":2",
    ),
    "unknown rttm record": ("f.rttm", "SPEECH x 1 1 1 <NA> <NA> A <NA> <NA>", "invalid-file", ":1"),
}


@pytest.mark.parametrize("kind", FAULTY)
def test_faulty_sheet_is_one_line_with_its_place(folder: Path, kind: str) -> None:
    name, text, code, place = FAULTY[kind]
    with pytest.raises(RetalkitError) as raised:
        checked(folder, name, text)
    assert raised.value.code == code
    assert str(raised.value).startswith(str(folder / name)) and place in str(raised.value)
    assert "\n" not in str(raised.value)


def test_number_of_other_faults_is_reported(folder: Path) -> None:
    with pytest.raises(RetalkitError, match=r"\(and 2 more faults\)"):
        cues = ("from: x", "to: y", "gain: z")
        checked(folder, "f.yaml", "cues:\n" + "".join(f"- {{{each}, speech: a.wav}}\n" for each in cues))


def test_speakers_must_be_bound_to_persons(folder: Path) -> None:
    for bindings, name in (({}, "ANNA"), ({"ANNA": LEFT, "Ben": RIGHT, "Carl": LEFT}, "Carl")):
        with pytest.raises(RetalkitError) as raised:
            checked(folder, "f.rttm", RTTM, speech=folder / "a.wav", bindings=bindings)
        assert raised.value.code == "unknown-person"
        assert name in str(raised.value)


def test_short_cues_of_the_command_line() -> None:
    speech = Path("s.wav")
    assert sheet_from_options(speech) is None
    ranged = sheet_from_options(speech, start="1:02.5", stop="70")
    assert ranged is not None
    assert [(cue.start, cue.stop, cue.person, cue.speech) for cue in ranged.cues] == [(62.5, 70.0, "largest", speech)]
    two = sheet_from_options(None, persons=["left=a.wav", "face.png=b.wav"])
    assert two is not None
    assert [(cue.person, cue.speech.name) for cue in two.cues] == [("left", "a.wav"), ("face.png", "b.wav")]
    assert two.persons["face.png"] == PersonSelector("image", image=Path("face.png"))
    one = sheet_from_options(speech, persons=["right"])
    assert one is not None and one.cues[0].speech == speech


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"persons": ["left=a.wav", "left=b.wav"]}, "duplicate-person"),
        ({"persons": ["left="]}, "invalid-person"),
        ({"persons": ["upper=a.wav"]}, "invalid-person"),
        ({"persons": ["left"]}, "missing-speech"),
        ({"start": "1"}, "missing-speech"),
        ({"persons": ["left=a.wav"], "speech": Path("s.wav")}, "unused-option"),
        ({"start": "5", "stop": "4", "speech": Path("s.wav")}, "invalid-time"),
        ({"start": "now", "speech": Path("s.wav")}, "invalid-time"),
        ({"cues": Path("c.yaml"), "start": "1"}, "unused-option"),
        ({"cues": Path("c.yaml"), "persons": ["left"]}, "invalid-person"),
        ({"cues": Path("no.yaml")}, "file-not-found"),
    ],
)
def test_faulty_options(options: dict[str, object], code: str) -> None:
    with pytest.raises(RetalkitError) as raised:
        sheet_from_options(options.pop("speech", None), **options)  # type: ignore[arg-type]
    assert raised.value.code == code


def test_message_without_speech_names_the_given_option() -> None:
    for options, option in (({"start": "1"}, "--from"), ({"stop": "2"}, "--to"), ({"persons": ["left"]}, "--person")):
        with pytest.raises(RetalkitError) as raised:
            sheet_from_options(None, **options)  # type: ignore[arg-type]
        assert str(raised.value).startswith(option)


def test_photo_has_any_duration(folder: Path) -> None:
    sheet = CueSheet(cues=(Cue(start=20.0, speech=folder / "a.wav"),))
    assert check_cues(sheet, None).last == 23.0


def test_selector_text_is_reproduced() -> None:
    for text in ("left", "centre", "3", "p2", "track:7", "largest"):
        assert str(parse_selector(text)) == text
