"""Tests for the corpus reader, speaker-disjoint folds, and corpus scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from retalkit.errors import InputError
from retalkit.motion_eval.corpus_scores import MAX_LAG, compare, mean_of_folds, score_corpus, summary
from retalkit.motion_eval.lips_corpus import CorpusClip, LipsCorpus, folds
from retalkit.stages import MouthMotion, Speech

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
    assert error.value.code == "unreadable-file"


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
