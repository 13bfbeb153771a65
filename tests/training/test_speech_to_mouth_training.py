"""Speech-to-mouth training: targets, phone labels, augmentation, and the full pipeline with tiny sizes."""

from __future__ import annotations

import copy
import json
import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")
pytest.importorskip("espeakng_loader", reason="training needs the extra: pip install 'retalkit[train]'")
pytest.importorskip("faker", reason="training needs the extra: pip install 'retalkit[train]'")

from retalkit.errors import RetalkitError
from retalkit_renderers.speech_to_mouth.coarticulation import Phone, mouth_targets
from retalkit_renderers.speech_to_mouth.features import log_mel, network_input
from retalkit_renderers.speech_to_mouth.visemes import BILABIAL, CLASSES, SILENCE, TABLE, letters_of_ipa
from retalkit_training.loop.batches import load_batches
from retalkit_training.speech_to_mouth.augmentation import augment, mask_bands, non_speech_example, vary_loudness
from retalkit_training.speech_to_mouth.corpus_synthesis import Shard, resample, synthesise
from retalkit_training.speech_to_mouth.export import as_stored
from retalkit_training.speech_to_mouth.losses import training_loss
from retalkit_training.speech_to_mouth.network import SpeechToMouthNetwork
from retalkit_training.speech_to_mouth.non_speech import BABBLE, KINDS, NonSpeechPool
from retalkit_training.speech_to_mouth.sentences import LOCALES, sentence, words
from retalkit_training.speech_to_mouth.session import Session
from retalkit_training.speech_to_mouth.synthetic_steps import (
    check_synthesisers,
    make_corpus,
    score_and_export,
    synthetic_task,
    training_speech,
)
from retalkit_training.speech_to_mouth.tts import ESPEAK_LANGUAGES, Espeak, Flite, flite_program
from retalkit_training.tasks.speech_to_mouth_config import SpeechToMouthConfig
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tests.training.mouth_sessions import KilledError, kill_after, session_with, tiny_config


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Synthesise a tiny corpus once."""
    session = Session(tiny_config(), tmp_path_factory.mktemp("training"), "cpu")
    make_corpus(session)
    return session


def _timed(letters: str, seconds: float = 0.1, lead: float = 0.4) -> list[Phone]:
    """Return the letters in sequence with ``lead`` seconds of silence before and after."""
    phones = [Phone(0.0, lead, "_")]
    for letter in letters:
        phones.append(Phone(phones[-1].stop, phones[-1].stop + seconds, letter))
    return [*phones, Phone(phones[-1].stop, phones[-1].stop + lead, "_")]


def _at(letters: str, index: int, measure: int, seconds: float = 0.1) -> float:
    """Return a measure in the middle of the letter at ``index``."""
    phones = _timed(letters, seconds)
    time = 0.4 + (index + 0.5) * seconds
    count = round(phones[-1].stop * 50)
    return float(mouth_targets(phones, count).measures[round(time * 50 - 0.5), measure])


@pytest.mark.parametrize("letter", ["p", "b", "m"])
@pytest.mark.parametrize("seconds", [0.03, 0.06, 0.12])
def test_lips_close_fully_for_bilabials(letter: str, seconds: float) -> None:
    phones = [Phone(0.0, 0.5, "a"), Phone(0.5, 0.5 + seconds, letter), Phone(0.5 + seconds, 1.2, "a")]
    opening = mouth_targets(phones, 60).measures[:, 0]
    inside = opening[25 : 25 + max(1, int(seconds * 50)) + 1]
    assert inside.min() == 0.0
    assert opening[20] > 0.5
    assert opening[36] > 0.5


def test_labiodentals_close_to_a_slit() -> None:
    phones = [Phone(0.0, 0.5, "a"), Phone(0.5, 0.6, "f"), Phone(0.6, 1.2, "a")]
    assert mouth_targets(phones, 60).measures[26:28, 0].min() < 0.08


def test_openings_are_ordered_as_in_measurements() -> None:
    open_vowel = _at("tat", 1, 0, 0.15)
    for rounded in "oɔruw":
        assert _at(f"t{rounded}t", 1, 0, 0.15) < 0.6 * open_vowel
    for parted in "szikɡ":
        assert 0.25 < _at(f"a{parted}a", 1, 0) < 0.8 * open_vowel


def test_width_separates_rounded_and_spread_vowels() -> None:
    assert _at("tut", 1, 1, 0.15) < -0.5
    assert _at("tit", 1, 1, 0.15) > 0.4
    assert _at("tut", 1, 2, 0.15) > 0.5
    assert _at("tit", 1, 2, 0.15) < 0.2


def test_rounding_is_anticipated() -> None:
    assert _at("asu", 1, 1) < _at("asi", 1, 1) - 0.2


def test_silence_is_closed_and_not_speech() -> None:
    phones = _timed("tata", lead=0.6)
    targets = mouth_targets(phones, round(phones[-1].stop * 50))
    assert targets.measures[:15, 0].max() < 0.03
    assert targets.speech[:28].max() == 0.0
    assert targets.speech[32:48].min() == 1.0
    assert targets.classes[0] == SILENCE


def test_every_class_is_used() -> None:
    assert {viseme.kind for viseme in TABLE.values()} == set(range(len(CLASSES)))
    assert {letter for letter, viseme in TABLE.items() if viseme.kind == BILABIAL} >= set("pbm")
    assert letters_of_ipa("tʃ") == ["t", "ʃ"]
    assert letters_of_ipa("aː") == ["a"]


def test_sentences_are_deterministic_and_every_language_has_words() -> None:
    assert set(ESPEAK_LANGUAGES.values()) <= set(LOCALES)
    assert all(len(words(language)) >= 100 for language in LOCALES)
    assert sentence(random.Random(3), "de") == sentence(random.Random(3), "de")


def _envelope(sound: np.ndarray) -> np.ndarray:
    """Return the level in dB every 5 ms."""
    frames = sound[: len(sound) // 80 * 80].reshape(-1, 80)
    return 10.0 * np.log10(np.convolve((frames**2).mean(1), np.ones(2) / 2, "same") + 1e-9)


def _edge_errors(synthesiser: Espeak | Flite, sentences: int) -> np.ndarray:
    """Return the errors in seconds of labelled boundaries between sound and silence."""
    generator = random.Random(5)
    errors: list[float] = []
    for _ in range(sentences):
        utterance = synthesiser.speak(generator)
        if utterance is None:
            continue
        sound, phones = resample(utterance)
        level = _envelope(sound)
        loud = level > np.percentile(level, 95) - 35.0
        for left, right in zip(phones, phones[1:], strict=False):
            # Only vowels next to silence, because stops start with a silent closure.
            if (left.letter == "_") == (right.letter == "_"):
                continue
            vowel, pause = (right, left) if left.letter == "_" else (left, right)
            if vowel.letter not in "aeiouɑɛæɔɪʊ" or pause.stop - pause.start < 0.06:
                continue
            at = round(left.stop * 200)
            changes = [n for n in range(max(1, at - 20), min(len(loud), at + 20)) if loud[n] != loud[n - 1]]
            if changes:
                errors.append(min((n / 200.0 - left.stop for n in changes), key=abs))
    return np.array(errors)


def test_espeak_labels_are_aligned() -> None:
    errors = _edge_errors(Espeak(), 60)
    assert len(errors) >= 15
    assert abs(np.median(errors)) <= 0.015


@pytest.mark.skipif(flite_program() is None, reason="flite is not installed: apt-get install flite")
def test_flite_labels_are_aligned() -> None:
    errors = _edge_errors(Flite(), 12)
    assert len(errors) >= 4
    assert abs(np.median(errors)) <= 0.03


def test_stops_are_quieter_than_adjacent_vowels() -> None:
    generator, synthesiser = random.Random(2), Espeak()
    drops: list[float] = []
    for _ in range(30):
        utterance = synthesiser.speak(generator)
        if utterance is None:
            continue
        sound, phones = resample(utterance)
        level = _envelope(sound)
        for before, stop, after in zip(phones, phones[1:], phones[2:], strict=False):
            if stop.letter in "ptk" and before.letter in "aeiou" and after.letter in "aeiou":
                inside = level[round(stop.start * 200) + 2 : round(stop.stop * 200) - 2]
                vowel = level[round(before.start * 200) : round(before.stop * 200)]
                if len(inside) and len(vowel):
                    drops.append(vowel.max() - inside.min())
    assert len(drops) >= 10
    assert np.median(drops) > 15.0


def test_augmentation_keeps_length_and_timing(work: Session) -> None:
    corpus = training_speech(work)
    pool = NonSpeechPool(work.corpus)
    for seed in range(8):
        sound = np.zeros(32000, np.float32)
        sound[16000:16032] = 0.9
        click, _ = augment(np.random.default_rng(seed), sound, np.zeros((100, 6), np.float32), pool)
        assert click.shape == sound.shape
        assert click.dtype == np.float32
        assert (
            abs(int(np.argmax(np.abs(click))) - 16016) <= 80 or np.abs(click[:15000]).max() > 0.3 * np.abs(click).max()
        )
        piece, targets = corpus.random_crop(np.random.default_rng(seed), 100)
        changed, changed_targets = augment(np.random.default_rng(seed), piece, targets, pool)
        assert changed.shape == piece.shape
        assert changed_targets.shape == targets.shape
        np.testing.assert_array_equal(changed_targets[:, 4:], targets[:, 4:])
        np.testing.assert_array_equal(changed_targets[:, 0] == 0.0, targets[:, 0] == 0.0)
        assert np.abs(changed).max() <= 1.0


def test_louder_speech_opens_the_mouth_wider() -> None:
    sound, targets = np.full(64000, 0.1, np.float32), np.full((200, 6), 0.5, np.float32)
    louder, changed = vary_loudness(np.random.default_rng(0), sound, targets)
    levels = np.abs(louder).reshape(200, 320).mean(1)
    assert np.corrcoef(levels, changed[:, 0])[0, 1] > 0.95
    np.testing.assert_array_equal(changed[:, 1], targets[:, 1])


def test_masked_bands_are_complete_and_few() -> None:
    levels = np.random.default_rng(0).uniform(-10.0, 5.0, (50, 80)).astype(np.float32)
    for seed in range(20):
        changed = mask_bands(np.random.default_rng(seed), levels)
        masked = (changed == levels.min()).all(axis=0)
        assert 3 <= masked.sum() <= 28
        np.testing.assert_array_equal(changed[:, ~masked], levels[:, ~masked])


def test_babble_stays_faint(work: Session) -> None:
    pool = NonSpeechPool(work.corpus)
    assert set(pool.kinds.tolist()) == set(range(len(KINDS)))
    babble, kind = pool.pick(np.random.default_rng(0), 32000, BABBLE)
    assert kind == BABBLE
    assert babble.any()
    only_babble = NonSpeechPool.__new__(NonSpeechPool)
    only_babble.kinds = pool.kinds[pool.kinds == BABBLE]
    only_babble._clips = pool._clips[pool.kinds == BABBLE]
    for seed in range(10):
        sound = non_speech_example(np.random.default_rng(seed), only_babble, 32000)
        assert 20.0 * np.log10(np.sqrt(np.mean(sound**2)) + 1e-12) < -37.5


def test_interrupted_corpus_synthesis_is_reproducible(work: Session, tmp_path: Path) -> None:
    again = Session(work.config, tmp_path / "again", "cpu")
    first, other = work.shards()[0], again.shards()[0]
    again.corpus.mkdir(parents=True)
    (again.corpus / f"{other.folder.name}.1.part").mkdir()
    make_corpus(again)
    for name in ("waveform.npy", "targets.npy"):
        np.testing.assert_array_equal(np.load(first.folder / name), np.load(other.folder / name))
    np.testing.assert_array_equal(np.load(work.corpus / "negatives.npy"), np.load(again.corpus / "negatives.npy"))


def test_shard_is_deterministic(tmp_path: Path) -> None:
    # This seed selects a voice with breath noise, which espeak-ng seeds from the clock by default.
    seed = Session(SpeechToMouthConfig(), tmp_path).shards()[3].seed
    shards = [Shard(tmp_path / name, "espeak", seed, 90.0, False) for name in ("one", "two")]
    for shard in shards:
        synthesise([shard], 1)
    waveforms = [np.load(shard.folder / "waveform.npy") for shard in shards]
    np.testing.assert_array_equal(*waveforms)


def test_resumed_training_gives_identical_weights_and_exports(work: Session, tmp_path: Path) -> None:
    whole = session_with(work.folder, tmp_path / "whole")
    undisturbed = whole.train(synthetic_task(whole, "key"), "synthetic")
    cut = session_with(work.folder, tmp_path / "cut", report=kill_after(6))
    with pytest.raises(KilledError):
        cut.train(synthetic_task(cut, "key"), "synthetic")
    assert [path.name for path in (cut.folder / "synthetic" / "checkpoints").iterdir()] == ["step-000000004.pt"]
    cut = replace(cut, report=whole.report)
    resumed = cut.train(synthetic_task(cut, "key"), "synthetic")
    for name, tensor in undisturbed.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    with pytest.raises(RetalkitError) as error:
        cut.train(synthetic_task(cut, "other"), "synthetic")
    assert error.value.code == "other-dataset"

    path = score_and_export(cut, resumed, "key")
    from safetensors import safe_open

    with safe_open(str(path), framework="numpy") as file:
        metadata = file.metadata()
        assert file.get_tensor("stem.weight").shape == (16, 160, 6)
        assert "blocks.5.norm.running_var" in file.keys()  # noqa: SIM118 (no mapping)
    assert metadata["format"] == "1"
    assert json.loads(metadata["dilations"]) == [1, 2, 4, 8, 1, 2]
    assert json.loads(metadata["scales"])["opening"] > 0.3
    assert "| training.steps | 8 |" in path.with_suffix(".md").read_text(encoding="utf-8")


def test_loop_trains_like_a_plain_loop(work: Session, tmp_path: Path) -> None:
    session = session_with(work.folder, tmp_path / "run", "synthetic.dropout=0")
    task = synthetic_task(session, "key")
    config, network = task.config, copy.deepcopy(task.network).train()
    found = session.train(task, "synthetic")
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1.0, (step + 1) / 2) * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * step / config.steps))),
    )
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.997), use_buffers=True)
    for step in range(config.steps):
        (batch,) = load_batches(task, step, 0, 1)
        optimizer.zero_grad()
        training_loss(network(batch["features"]), batch["targets"]).total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
    expected = as_stored(average.module)
    for name, value in expected.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(found.state_dict()[name], value, atol=1e-6, rtol=1e-3, msg=name)


def test_missing_flite_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retalkit_training.speech_to_mouth.synthetic_steps.flite_program", lambda: None)
    with pytest.raises(RetalkitError, match="apt-get install flite") as error:
        check_synthesisers(Session(tiny_config("corpus.flite_share=0.3"), tmp_path, "cpu"))
    assert error.value.code == "missing-program"


@pytest.mark.parametrize("lookahead", [0.2, 0.08])
def test_look_ahead_is_bounded(lookahead: float) -> None:
    torch.manual_seed(0)
    network = SpeechToMouthNetwork(16, lookahead_seconds=lookahead).eval()
    sound = np.random.default_rng(0).standard_normal(4 * 16000).astype(np.float32) * 0.1
    changed = sound.copy()
    cut = 2 * 16000
    changed[cut:] = 0.0
    rows = []
    for audio in (sound, changed):
        features = torch.from_numpy(network_input(log_mel(audio), ahead=0).T[None].copy())
        with torch.inference_mode():
            rows.append(network(features)[0].numpy())
    differs = np.flatnonzero(np.abs(rows[0] - rows[1]).max(axis=0) > 0)
    first_time = (2 * differs[0] + 1) / 100.0
    assert 2.0 - lookahead <= first_time
    assert first_time < 2.0


def test_package_runs_the_same_network() -> None:
    from retalkit_renderers.speech_to_mouth.network import make_network as numpy_network

    torch.manual_seed(0)
    network = SpeechToMouthNetwork(16).eval()
    features = np.random.default_rng(0).standard_normal((200, 160)).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(features.T[None].copy()))[0].numpy().T
    tensors = {name: value.numpy() for name, value in network.state_dict().items()}
    same = numpy_network(tensors, {"dilations": "[1, 2, 4, 8, 1, 2]", "after": json.dumps(list(network.after))})
    low, high = same.feature_rows(0, 100)
    padded = np.pad(features, ((-low, high - 200), (0, 0)))
    np.testing.assert_allclose(same.forward(padded, 0, 100), expected, atol=2e-4)
