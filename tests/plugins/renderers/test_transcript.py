"""Tests for transcripts: parsing, phonemisation, alignment, and the effect on the motion of the driver ``model``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from retalkit.errors import ConfigError
from retalkit.stages import Runtime
from retalkit_renderers.speech_to_mouth.interface import ModelDriverConfig
from retalkit_renderers.speech_to_mouth.model import ModelDriver, make_driver
from retalkit_renderers.speech_to_mouth.transcript.alignment import Word, align, emissions
from retalkit_renderers.speech_to_mouth.transcript.cues import read_transcript
from retalkit_renderers.speech_to_mouth.transcript.guidance import LEAST_MATCH, Transcript
from retalkit_renderers.speech_to_mouth.visemes import BILABIAL, LABIODENTAL, TABLE

from tests.core.speech.sounds import load
from tests.plugins.renderers.speeches import always_active

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
TEXT = "Hello. My lips never said these words, but now they move as if they had."
WRONG = "The weather report from Berlin: heavy rain will come over the hills before the weekend begins."


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# --------------------------------------------------------------------------- files


def test_text_file_is_one_cue_without_times(tmp_path: Path) -> None:
    cues = read_transcript(write(tmp_path / "a.txt", "\ufeffHello [laughs]\n <i>my</i>  lips\n"))
    assert [(cue.text, cue.start, cue.stop) for cue in cues] == [("Hello my lips", None, None)]


def test_lines_with_a_note_in_parentheses_are_not_spoken(tmp_path: Path) -> None:
    srt = "1\r\n00:00:01,500 --> 00:00:03,000\r\n(door slams)\r\nHello (my\r\nfriend)\r\n- (laughs)\r\n"
    assert [cue.text for cue in read_transcript(write(tmp_path / "a.srt", srt))] == ["Hello (my friend)"]


def test_subtitles_have_times_and_no_markup(tmp_path: Path) -> None:
    srt = "1\n00:00:01,500 --> 00:00:03,000\n<i>Hello</i>\nthere.\n\n2\n01:00:00,000 --> 01:00:01,000\n♪ ♪\n"
    vtt = "WEBVTT\n\nNOTE by hand\n\n00:03.000 --> 00:04.500 align:start\n<v Ann>Second.\n"
    vtt += "\nx\n00:01.000 --> 00:02.000\nOne\n"
    cues = read_transcript(write(tmp_path / "a.srt", srt))
    assert [(cue.text, cue.start, cue.stop) for cue in cues] == [("Hello there.", 1.5, 3.0)]
    cues = read_transcript(write(tmp_path / "a.VTT", vtt))
    assert [(cue.text, cue.start, cue.stop) for cue in cues] == [("One", 1.0, 2.0), ("Second.", 3.0, 4.5)]


@pytest.mark.parametrize(
    ("name", "content", "code", "fact"),
    [
        ("a.docx", b"Hello", "wrong-suffix", ".txt, .srt, .vtt"),
        ("a.txt", b" \n[music]\n", "empty-file", "no words"),
        ("a.txt", b"Gr\xfc\xdfe", "unreadable-file", "UTF-8"),
        ("a.srt", b"Hello\n", "empty-file", "no cue"),
        ("a.vtt", b"WEBVTT\n", "empty-file", "no cue"),
        ("a.srt", b"1\n00:00:01,000 --> 00:00:02,000\n[music]\n", "empty-file", "no words"),
        ("a.txt", b"Hello.\0 My lips", "unreadable-file", "NUL"),
        ("a.txt", "Hello".encode("utf-16-le"), "unreadable-file", "NUL"),
        ("a.srt", b"1\n0:01 -> 0:02\n\n1\nsoon --> 00:00:02,000\nHello\n", "invalid-file", "line 5"),
        ("a.vtt", b"WEBVTT\n\n00:02.000 --> 00:01.000\nHello\n", "invalid-file", "line 3"),
    ],
)
def test_invalid_transcript_is_reported(tmp_path: Path, name: str, content: bytes, code: str, fact: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as error:
        read_transcript(tmp_path / name)
    assert error.value.code == code
    assert name in str(error.value) and fact in str(error.value) and "\n" not in str(error.value)


# --------------------------------------------------------------------------- alignment


def shares_of(letters: str, rows: int = 5) -> np.ndarray:
    """Return viseme probabilities for phones with a duration of ``rows`` rows. ``_`` represents silence.

    The probability is 0.86 for the phone's class and 0.01 for all other classes.
    """
    kinds = np.repeat([TABLE[letter].kind for letter in letters], rows)
    shares = np.full((len(kinds), 15), 0.01, np.float32)
    shares[np.arange(len(kinds)), kinds] = 0.86
    return shares


def test_phones_are_found_where_they_are() -> None:
    phones = align(emissions(shares_of("___pa__mu_s")), [Word(("p", "a")), Word(("m", "u")), Word(("s",))])
    assert phones is not None
    assert [(phone.letter, phone.word, phone.start, phone.stop) for phone in phones] == [
        ("p", 0, 15, 20),
        ("a", 0, 20, 25),
        ("m", 1, 35, 40),
        ("u", 1, 40, 45),
        ("s", 2, 50, 55),
    ]


def test_pauses_absorb_sounds_that_the_text_lacks() -> None:
    phones = align(emissions(shares_of("palikefumu")), [Word(("p", "a")), Word(("m", "u"))])
    assert phones is not None
    assert [(phone.letter, phone.start) for phone in phones] == [("p", 0), ("a", 5), ("m", 40), ("u", 45)]


def test_words_stay_inside_their_times() -> None:
    scores = emissions(shares_of("pa____pa____pa"))
    for earliest, start in ((0, 0), (20, 30), (45, 60)):
        phones = align(scores, [Word(("p", "a"), earliest, earliest + 25)])
        assert phones is not None and phones[0].start == start
    assert align(scores, [Word(("p", "a"), 10, 11)]) is None


def test_long_text_is_aligned_in_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [Word(tuple(word)) for word in ("pa", "lik", "efu", "mu", "sot", "bina") * 12]
    scores = emissions(shares_of("".join("".join(word.letters) + "_" for word in words)))
    whole = align(scores, words)
    monkeypatch.setattr("retalkit_renderers.speech_to_mouth.transcript.alignment.WINDOW", 60)
    assert align(scores, words) == whole


def test_text_longer_than_the_speech_does_not_fit() -> None:
    assert align(emissions(shares_of("pa", 2)), [Word(("p", "a", "t", "o", "k"))]) is None


# --------------------------------------------------------------------------- phones


@pytest.fixture
def espeak() -> None:
    pytest.importorskip("espeakng_loader", reason="transcripts need the extra: pip install 'retalkit[transcript]'")


@pytest.mark.usefixtures("espeak")
@pytest.mark.parametrize(
    ("package", "fact"),
    [
        ("raise ImportError('damaged')", "damaged"),
        ("def get_library_path(): return '/nowhere/espeak.so'", "/nowhere/espeak.so"),
        ("{library}\ndef get_data_path(): raise RuntimeError('no data')", "no data"),
        ("{library}\ndef get_data_path(): return '/nowhere/data'", "/nowhere/data"),
        ("{library}\ndef get_data_path(): return {long!r}", "['k', 'æ', 't']"),
    ],
)
def test_espeak_never_ends_the_process(tmp_path: Path, package: str, fact: str) -> None:
    """A damaged package is reported, and data in a directory with a long path is loaded."""
    import espeakng_loader

    folder = tmp_path / ("d" * 180)
    folder.mkdir()
    (folder / "espeak-ng-data").symlink_to(espeakng_loader.get_data_path())
    library = f"def get_library_path(): return {espeakng_loader.get_library_path()!r}"
    text = package.format(library=library, long=str(folder / "espeak-ng-data"))
    script = (
        "from retalkit.errors import ConfigError\n"
        "from retalkit_renderers.speech_to_mouth.transcript.phonemizer import phonemize\n"
        "try:\n"
        "    print(list(phonemize('cat', 'en-us')[0]))\n"
        "except ConfigError as error:\n"
        "    print(error.code, error)\n"
    )
    (tmp_path / "stub").mkdir()
    write(tmp_path / "stub" / "espeakng_loader.py", text)
    paths = os.pathsep.join([str(tmp_path / "stub"), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": paths},
    )
    assert done.returncode == 0 and fact in done.stdout and done.stdout.count("\n") == 1
    assert done.stdout.startswith(("import-failed", "['k'"))


@pytest.mark.usefixtures("espeak")
def test_words_become_phones_in_their_language() -> None:
    from retalkit_renderers.speech_to_mouth.transcript.phonemizer import phonemize

    assert phonemize("Pub, map!", "en-us") == [("p", "ʌ", "b"), ("m", "æ", "p")]
    assert phonemize("vier Bäume", "de") == [("f", "i", "ɾ"), ("b", "ɔ", "ø", "m", "ə")]
    assert phonemize("...", "en-us") == []
    for wrong in ("qq", "../etc", "english please"):
        with pytest.raises(ConfigError, match="en-us") as error:
            phonemize("hello", wrong)
        assert error.value.code == "unknown-language"


# --------------------------------------------------------------------------- the driver


def labials(transcript: Transcript) -> int:
    return sum(TABLE[letter].kind in (BILABIAL, LABIODENTAL) for word in transcript.words for letter in word.letters)


def closures(closure: np.ndarray) -> int:
    """Return the number of consecutive runs of rows with closed lips."""
    closed = np.concatenate([[0], closure > 0.5])
    return int((np.diff(closed.astype(int)) > 0).sum())


@pytest.mark.usefixtures("espeak")
def test_lips_close_as_often_as_the_text_says(tmp_path: Path) -> None:
    speech = always_active(load(EXAMPLES / "speech.wav"))
    times = np.arange(0, speech.duration, 0.02)
    path = write(tmp_path / "words.txt", TEXT)
    driver = make_driver(ModelDriverConfig(transcript=path), Runtime())
    motion = driver.motion(speech, times)
    assert driver.notes(speech) == ["transcript words.txt: 15 of 15 words aligned"]
    assert closures(motion.closure) == labials(Transcript.read(path, "en-us"))
    assert motion.opening[motion.closure > 0.99].max() < 0.1
    plain = ModelDriver().motion(speech, times)
    assert np.corrcoef(plain.opening, motion.opening)[0, 1] > 0.8
    # The value at one time does not depend on the other requested times.
    np.testing.assert_array_equal(driver.motion(speech, times[100:120]).opening, motion.opening[100:120])


@pytest.mark.usefixtures("espeak")
def test_wrong_transcript_is_not_used(tmp_path: Path) -> None:
    speech = always_active(load(EXAMPLES / "speech.wav"))
    times = np.arange(0, speech.duration, 0.02)
    path = write(tmp_path / "wrong.txt", WRONG)
    driver = make_driver(ModelDriverConfig(transcript=path), Runtime())
    (note,) = driver.notes(speech)
    assert "wrong.txt" in note and f"{LEAST_MATCH:.2f}" in note and "\n" not in note
    motion, plain = driver.motion(speech, times), ModelDriver().motion(speech, times)
    for name in ("opening", "width", "protrusion", "closure", "speech"):
        np.testing.assert_array_equal(getattr(motion, name), getattr(plain, name))


@pytest.mark.usefixtures("espeak")
def test_wrong_cue_is_not_used(tmp_path: Path) -> None:
    speech = always_active(load(EXAMPLES / "speech.wav"))
    times = np.arange(0, speech.duration, 0.02)
    right = "00:00.000 --> 00:03.100\nHello. My lips never said these words,\n"
    cues = f"WEBVTT\n\n{right}\n00:03.100 --> 00:05.200\nmy mama bought puppies from Bob\n"
    driver = make_driver(ModelDriverConfig(transcript=write(tmp_path / "a.vtt", cues)), Runtime())
    (note,) = driver.notes(speech)
    assert note.startswith("1 of 2 cues")
    plain = ModelDriver().motion(speech, times)
    late = times > 3.5
    np.testing.assert_array_equal(driver.motion(speech, times).closure[late], plain.closure[late])


@pytest.mark.usefixtures("espeak")
@pytest.mark.parametrize("excess", ["words " * 200, "a" * 3000, "1\n00:00:00,000 --> 00:00:05,000\n" + "words " * 200])
def test_long_transcript_is_rejected_before_the_conversion_to_phones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, excess: str
) -> None:
    name = "long.srt" if "-->" in excess else "long.txt"
    transcript = Transcript.read(write(tmp_path / name, excess), "en-us")
    monkeypatch.setattr("retalkit_renderers.speech_to_mouth.transcript.guidance.phonemize", None)
    guidance = transcript.guide(np.zeros((250, 21), np.float32), 1.0)
    assert name in guidance.note and "5.0 s" in guidance.note and not guidance.known.any()


@pytest.mark.usefixtures("espeak")
def test_cues_after_the_speech_do_not_count(tmp_path: Path) -> None:
    cues = f"1\n00:00:00,000 --> 00:00:05,000\n{TEXT}\n\n2\n00:01:00,000 --> 00:05:00,000\n" + "words " * 200
    speech = always_active(load(EXAMPLES / "speech.wav"))
    driver = make_driver(ModelDriverConfig(transcript=write(tmp_path / "a.srt", cues)), Runtime())
    assert not [note for note in driver.notes(speech) if "only" in note]
