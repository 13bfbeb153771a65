"""Tests for the corpus reader, speaker-disjoint folds, and corpus scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from retalkit.config import load
from retalkit.errors import InputError
from retalkit.motion_eval.corpus_report import evaluate_corpus
from retalkit.motion_eval.corpus_scores import MAX_LAG, compare, mean_of_folds, score_corpus, summary
from retalkit.motion_eval.lips_corpus import CorpusClip, LipsCorpus, folds
from retalkit.observer import SilentObserver
from retalkit.pipeline.plan import Plan, plan
from retalkit.plugins.discovery import discover
from retalkit.stages import MouthMotion, Speech
from retalkit.storage.cache import Cache

from tests.core.motion_eval.lips_folder import write_corpus


@pytest.fixture
def corpus(tmp_path: Path) -> LipsCorpus:
    return LipsCorpus(write_corpus(tmp_path / "lips", offset_ms=40))


def test_corpus_is_read(corpus: LipsCorpus) -> None:
    clip = corpus.clips[1]
    assert (clip.name, clip.speaker, clip.collection, clip.offset) == ("c1", "s0", "s0", 0.04)
    assert clip.flags == {"small_face"} and not clip.is_long_and_clear
    assert corpus.waveform(clip).shape == (48000,)
    lips = corpus.lips(clip, "width", "opening")
    assert lips.shape == (2, 150) and lips[0].mean() == pytest.approx(0.7, abs=0.02)


def test_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"index\.csv") as error:
        LipsCorpus(tmp_path)
    assert error.value.code == "file-not-found"


def test_missing_column_is_reported(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "lips", clips=1)
    text = (folder / "index.csv").read_text(encoding="utf-8")
    (folder / "index.csv").write_text(text.replace("speaker", "person"), encoding="utf-8")
    with pytest.raises(InputError, match="speaker") as error:
        LipsCorpus(folder)
    assert error.value.code == "missing-column"


def change_index(folder: Path, old: str, new: str) -> None:
    text = (folder / "index.csv").read_text(encoding="utf-8")
    assert old in text
    (folder / "index.csv").write_bytes(text.replace(old, new, 1).encode("latin-1"))


def change_lips(folder: Path, **changes: object) -> None:
    """Replace arrays in lips.npz. None removes an array."""
    with np.load(folder / "lips.npz") as stored:
        arrays = {**stored, **changes}
    np.savez(folder / "lips.npz", **{name: value for name, value in arrays.items() if value is not None})  # type: ignore[arg-type]


FIRST = "c0,s0,3.0,,0,0,s0"
BROKEN_FOLDERS = {
    "latin": (lambda folder: change_index(folder, "s0", "s\xe9"), "unreadable-file", "index.csv"),
    "text": (
        lambda folder: change_index(folder, FIRST, "c0,s0,3.0,,0,late,s0"),
        "invalid-value",
        "line 2: offset_fit_ms",
    ),
    "blank": (lambda folder: change_index(folder, FIRST, "c0,s0,3.0,,,,s0"), "invalid-value", "line 2: offset_ms"),
    "seconds": (lambda folder: change_index(folder, FIRST, "c0,s0,nan,,0,0,s0"), "invalid-value", "line 2: seconds"),
    "unnamed": (lambda folder: change_index(folder, FIRST, ",s0,3.0,,0,0,s0"), "invalid-value", "line 2: clip"),
    "short-row": (lambda folder: change_index(folder, FIRST, "c0,s0"), "invalid-value", "line 2: seconds"),
    "header": (
        lambda folder: (folder / "index.csv").write_text("clip,speaker,seconds,flags,offset_ms\n"),
        "empty-file",
        "no clips",
    ),
    "no-index": (lambda folder: (folder / "index.csv").write_bytes(b""), "missing-column", "speaker"),
    "features": (lambda folder: change_lips(folder, features=None), "missing-column", "features"),
    "numbers": (lambda folder: change_lips(folder, features=np.zeros(5)), "unreadable-file", "features"),
    "eyes": (lambda folder: change_lips(folder, features=np.array(list("abcde"))), "missing-column", "eyes"),
    "empty-npz": (lambda folder: (folder / "lips.npz").write_bytes(b""), "unreadable-file", "empty"),
    "noise": (lambda folder: (folder / "lips.npz").write_bytes(b"noise" * 99), "unreadable-file", "lips.npz"),
    "half": (
        lambda folder: (folder / "lips.npz").write_bytes((folder / "lips.npz").read_bytes()[:2000]),
        "unreadable-file",
        "lips.npz",
    ),
}


@pytest.mark.parametrize("name", BROKEN_FOLDERS)
def test_invalid_folder_is_one_line(tmp_path: Path, name: str) -> None:
    folder = write_corpus(tmp_path / "lips", clips=2)
    change, code, fact = BROKEN_FOLDERS[name]
    change(folder)
    with pytest.raises(InputError) as error:
        LipsCorpus(folder)
    assert error.value.code == code
    assert fact in str(error.value) and "\n" not in str(error.value)


def lips(rows: int = 150, columns: int = 5, value: float | None = None) -> np.ndarray:
    values = np.random.default_rng(0).uniform(0.1, 1.0, (rows, columns)).astype(np.float32)
    return values if value is None else np.full_like(values, value)


BROKEN_CLIPS = {
    "nan": (lambda folder: change_lips(folder, c0=lips(value=np.nan)), "invalid-lips"),
    "some-nan": (lambda folder: change_lips(folder, c0=np.where(lips() > 0.9, np.nan, lips())), "invalid-lips"),
    "eyes": (lambda folder: change_lips(folder, c0=lips() * [1, 1, 1, 1, 0]), "invalid-lips"),
    "vector": (lambda folder: change_lips(folder, c0=lips()[:, 0]), "invalid-lips"),
    "empty": (lambda folder: change_lips(folder, c0=lips(0)), "invalid-lips"),
    "columns": (lambda folder: change_lips(folder, c0=lips(columns=3)), "invalid-lips"),
    "strings": (lambda folder: change_lips(folder, c0=np.full((150, 5), "a")), "invalid-lips"),
    "objects": (lambda folder: change_lips(folder, c0=np.full((150, 5), None)), "invalid-lips"),
    "constant": (lambda folder: change_lips(folder, c0=lips(value=1.0)), "invalid-lips"),
    "missing": (lambda folder: change_lips(folder, c0=None), "missing-lips"),
    "long": (lambda folder: change_lips(folder, c0=lips(450)), "duration-mismatch"),
    "short": (lambda folder: change_lips(folder, c0=lips(130)), "duration-mismatch"),
    "nan-offset": (lambda folder: change_index(folder, FIRST, "c0,s0,3.0,,nan,nan,s0"), "invalid-offset"),
    "late": (lambda folder: change_index(folder, FIRST, "c0,s0,3.0,,0,-1200,s0"), "invalid-offset"),
    "repeated": (lambda folder: change_index(folder, FIRST, f"{FIRST}\n{FIRST}"), "duplicate-clip"),
}


@pytest.fixture(scope="module")
def chosen() -> Plan:
    registry = discover()
    return plan(load(registry), registry)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Cache with the analysed audio, which all corpora contain."""
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("name", BROKEN_CLIPS)
def test_invalid_clip_is_skipped_with_its_reason(tmp_path: Path, chosen: Plan, cache: Cache, name: str) -> None:
    folder = write_corpus(tmp_path / "lips", clips=2)
    change, code = BROKEN_CLIPS[name]
    change(folder)
    report = evaluate_corpus(folder, "slow", _Slow(), chosen, cache, SilentObserver())
    assert [(clip.clip, clip.code) for clip in report.skipped] == [("c0", code)]
    assert "c0" in report.skipped[0].reason and "\n" not in report.skipped[0].reason
    assert report.all.mean.clips == (2 if name == "repeated" else 1)


class _Slow:
    """Driver that returns a slowly moving mouth."""

    def motion(self, speech: Speech, times: np.ndarray) -> MouthMotion:
        values = np.sin(times).astype(np.float32)
        return MouthMotion(values, values, 0 * values, 0 * values, 0 * values)


def test_folds_share_no_speaker_and_no_collection(corpus: LipsCorpus) -> None:
    clips = [
        replace(
            clip, name=f"{clip.name}-{number}", speaker=f"s{number}", collection=f"c{number // 3}", seconds=1.0 + number
        )
        for number in range(18)
        for clip in corpus.clips[:2]
    ]
    clips[0] = replace(clips[0], speaker="s17")
    fold_of = folds(clips, 3)
    for group in ("speaker", "collection"):
        found: dict[str, set[int]] = {}
        for clip in clips:
            found.setdefault(getattr(clip, group), set()).add(fold_of[clip.name])
        assert all(len(each) == 1 for each in found.values())
    loads = [sum(clip.seconds for clip in clips if fold_of[clip.name] == fold) for fold in range(3)]
    assert max(loads) < 2 * min(loads)


def test_few_collections_are_split_by_speaker(corpus: LipsCorpus) -> None:
    clips = [replace(clip, collection="one") for clip in corpus.clips]
    assert set(folds(clips, 3).values()) == {0, 1, 2}


class _Late:
    """Driver that returns the lip motion in the corpus with a delay in seconds."""

    def __init__(self, corpus: LipsCorpus, clip: CorpusClip, late: float) -> None:
        self.lips = corpus.lips(clip, "opening", "width")
        self.shift = clip.offset - late

    def motion(self, speech: Speech, times: np.ndarray) -> MouthMotion:
        known = (2 * np.arange(self.lips.shape[1]) + 1) / 100
        opening, width = (np.interp(times + self.shift, known, row).astype(np.float32) for row in self.lips)
        zeros = np.zeros_like(opening)
        return MouthMotion(opening * 5, width, zeros, zeros, zeros + 1)


@pytest.mark.parametrize("late", [-0.06, 0.0, 0.03])
def test_scores_find_agreement_and_lag(corpus: LipsCorpus, late: float) -> None:
    # The lips in the corpus are 0.04 s late, so the motion of a synchronous driver is 0.04 s before the lip motion.
    drivers = {clip.name: (0, _Late(corpus, clip, late)) for clip in corpus.clips}
    scores = score_corpus(corpus, corpus.clips, lambda clip: drivers[clip.name], lambda _clip: None)  # type: ignore[arg-type]
    found = summary(scores)
    assert found.clips == 6
    assert found.lag == pytest.approx(-late, abs=0.006)
    if late == 0.0:
        assert found.opening > 0.99 and found.width > 0.99
        assert found.recall > 0.9 and found.precision > 0.9
    else:
        assert found.opening < 0.95


def test_motionless_mouth_counts_as_zero(corpus: LipsCorpus) -> None:
    clip = corpus.clips[0]
    lips = corpus.lips(clip, "opening", "width").astype(np.float64)
    still = np.zeros(lips.shape[1] + 2 * MAX_LAG, np.float32)
    scores = [compare(clip, lips, MouthMotion(still, still, still, still, still), fold) for fold in (0, 1)]
    found = mean_of_folds(scores)
    assert (found.opening, found.width, found.clips) == (0.0, 0.0, 2)
    assert found.recall == 0.0 and np.isnan(found.precision)
