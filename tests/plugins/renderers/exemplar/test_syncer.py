"""The lip syncer ``exemplar`` against its contract, on a talking portrait."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from exemplar_clips import STABLE, TalkingClip, motion_file, open_exemplar
from retalkit.geometry import mesh478
from retalkit.geometry.pose import rigid_fit, to_head_frame, to_pixels
from retalkit.imaging.compositing import composite
from retalkit.plugins.discovery import discover
from retalkit.stages import FaceEdit, PassedThrough, Runtime, Speech, StageKind
from retalkit_renderers.speech_to_mouth.interface import FileDriverConfig
from retalkit_renderers.speech_to_mouth.motion_file import FileDriver
from scipy.spatial.transform import Rotation


def waves(count: int) -> np.ndarray:
    return 0.5 - 0.5 * np.cos(np.arange(count) * 0.55 + 1)


def same(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(
        type(one) is type(two)
        and (
            one == two
            if isinstance(one, PassedThrough)
            else (one.image == two.image).all() and (one.mask == two.mask).all() and (one.matrix == two.matrix).all()
        )
        for one, two in zip(first, second, strict=True)
    )


def test_spec_declares_its_ports() -> None:
    spec = discover().find(StageKind.LIP_SYNCER, "exemplar").spec
    assert spec.gives == {"face:edit"}
    assert {"landmarks:mesh478", "coefficients:mesh", "reference:landmarks", "speech:activity"} <= spec.needs


def test_batch_size_and_resume_do_not_change_pixels(talking: TalkingClip, tmp_path: Path) -> None:
    motion = motion_file(tmp_path / "motion.npz", 48, opening=waves(48))
    first = open_exemplar(talking, tmp_path / "cache", motion)
    whole = first.results(talking, 48)
    assert same(whole, first.results(talking, 1))
    talking.reads.clear()
    resumed = open_exemplar(talking, tmp_path / "cache", motion)
    assert talking.reads == [], "plan and bank must come from the cache"
    assert same(whole[20:30], resumed.session.sync(talking.batch(20, 30)))
    again = open_exemplar(talking, tmp_path / "elsewhere", motion)
    assert same(whole, again.results(talking, 7))


def test_pixels_outside_the_mask_and_in_the_upper_face_are_unchanged(talking: TalkingClip, tmp_path: Path) -> None:
    opened = open_exemplar(talking, tmp_path, motion_file(tmp_path / "motion.npz", 48, opening=1.0))
    for index, edit in enumerate(opened.results(talking)):
        assert isinstance(edit, FaceEdit)
        assert edit.image.dtype == np.uint8 and edit.mask.dtype == np.float32
        assert edit.mask.min() >= 0 and edit.mask.max() <= 1
        frame = talking.images[index].copy()
        composite(frame, edit)
        whole = np.zeros(frame.shape[:2], np.float32)
        left, top = (-edit.matrix[:, 2]).astype(int)
        whole[top : top + edit.mask.shape[0], left : left + edit.mask.shape[1]] = edit.mask
        changed = (frame != talking.images[index]).any(-1)
        assert not changed[whole == 0].any()
        nose = int(talking.points[index, mesh478.NOSE_TIP, 1])
        assert not changed[:nose].any()
        assert changed.any()


def test_frames_without_a_face_pass_through(talking: TalkingClip, tmp_path: Path) -> None:
    points, numbers = talking.points.copy(), talking.numbers.copy()
    points[10:14], numbers[10:14], numbers[14:] = np.nan, -1, 1
    clip = replace(talking, points=points, numbers=numbers)
    opened = open_exemplar(clip, tmp_path, motion_file(tmp_path / "motion.npz", 48, opening=waves(48)))
    results = opened.results(clip)
    assert [index for index, one in enumerate(results) if isinstance(one, PassedThrough)] == [10, 11, 12, 13]
    assert results[11] == PassedThrough("no face")
    assert np.isnan(opened.plan["opening"][10:14]).all() and np.isfinite(opened.plan["opening"][14:]).all()


def test_clip_without_a_face_passes_through(talking: TalkingClip, tmp_path: Path) -> None:
    clip = replace(talking, points=np.full_like(talking.points, np.nan), numbers=np.full(48, -1, np.int32))
    opened = open_exemplar(clip, tmp_path, motion_file(tmp_path / "motion.npz", 48))
    assert set(opened.results(clip)) == {PassedThrough("no face")}


def test_turned_head_fades_and_then_passes_through(talking: TalkingClip, tmp_path: Path) -> None:
    pose = rigid_fit(talking.points[:, STABLE], talking.template[STABLE])
    heads = to_head_frame(talking.points, pose)
    turn = np.zeros(48)
    turn[20:24], turn[24:28] = 40, 60
    rotation = Rotation.from_euler("y", turn[:, None], degrees=True).as_matrix().astype(np.float32)
    turned = replace(pose, rotation=np.einsum("tij,tjk->tik", pose.rotation, rotation))
    clip = replace(talking, points=np.where(turn[:, None, None] > 0, to_pixels(heads, turned), talking.points))
    opened = open_exemplar(clip, tmp_path, motion_file(tmp_path / "motion.npz", 48, opening=waves(48)))
    results = opened.results(clip)
    assert all(one == PassedThrough("large yaw") for one in results[24:28])
    confidence = opened.plan["confidence"]
    assert (confidence[20:24] > 0.05).all() and (confidence[20:24] < 0.95).all()
    assert isinstance(results[0], FaceEdit) and results[0].confidence == 1
    forecast = opened.session.forecast(clip.batch(0, 48))
    expected = [
        (0.0, one.reason) if isinstance(one, PassedThrough) else (one.confidence, one.reason) for one in results
    ]
    assert [(one.confidence, one.reason) for one in forecast] == expected
    assert "large yaw" in {one.reason for one in forecast}


def test_silence_shows_closed_lips(talking: TalkingClip, tmp_path: Path) -> None:
    motion = motion_file(tmp_path / "motion.npz", 48, opening=1.0, width=1.0, speech=0.0)
    opened = open_exemplar(talking, tmp_path / "cache", motion)
    plan = opened.plan
    assert plan["opening"].max() < 1e-4
    # The portrait shows teeth: closed lips need exemplars from closed frames.
    assert talking.opening()[plan["exemplar"]].max() < 0.02


def test_closure_closes_the_lips_in_its_frame(talking: TalkingClip, tmp_path: Path) -> None:
    closure = np.zeros(48)
    closure[[12, 30]] = 1
    opened = open_exemplar(talking, tmp_path, motion_file(tmp_path / "m.npz", 48, opening=1.0, closure=closure))
    opening = opened.plan["opening"]
    assert opening[[12, 30]].max() < 1e-4
    assert np.delete(opening, [12, 30]).min() > 0.08


def test_opening_is_limited_to_the_range_of_the_person(talking: TalkingClip, tmp_path: Path) -> None:
    opened = open_exemplar(talking, tmp_path, motion_file(tmp_path / "m.npz", 48, opening=1.5), strength=1.5)
    most = float(np.percentile(talking.opening(), 98))
    assert opened.plan["opening"].max() <= most + 0.004
    assert opened.plan["opening"].min() > 0.85 * most


def test_plan_is_an_artefact_with_the_requested_motion(talking: TalkingClip, tmp_path: Path) -> None:
    opened = open_exemplar(talking, tmp_path, motion_file(tmp_path / "m.npz", 48, opening=waves(48)))
    assert opened.observer.artefacts["mouth_plan"] == tmp_path / "plan.npz"
    plan = opened.plan
    assert len(plan["times"]) == 48
    assert np.corrcoef(plan["opening"], waves(48))[0, 1] > 0.97
    assert 1.5 < plan["face_height"].mean() < 2.5


def test_rendered_mouth_opens_with_the_plan(talking: TalkingClip, tmp_path: Path) -> None:
    """Measured in pixels: those that are less red than lips (teeth in this portrait) show an open mouth."""
    opened = open_exemplar(talking, tmp_path, motion_file(tmp_path / "m.npz", 48, opening=(np.arange(48) // 8) % 2))
    seen = []
    for index, edit in enumerate(opened.results(talking)):
        assert isinstance(edit, FaceEdit)
        frame = talking.images[index].copy()
        composite(frame, edit)
        x, y = talking.points[index, [13, 14], :2].mean(0).round().astype(int)
        column = frame[y - 12 : y + 22, x - 6 : x + 7].astype(float)
        redness = column[..., 0] / column.sum(-1)
        seen.append((redness < 0.37).mean())
    requested = opened.plan["opening"]
    assert np.corrcoef(seen, requested)[0, 1] > 0.8


def test_interior_is_rendered_for_a_mouth_that_never_opens(still: TalkingClip, tmp_path: Path) -> None:
    opened = open_exemplar(still, tmp_path, motion_file(tmp_path / "m.npz", 20, opening=1.0))
    assert any("never opens" in note for note in opened.observer.notes)
    assert 0.08 < opened.plan["opening"].max() <= 0.7 * 0.2 + 1e-4
    edit = opened.results(still)[5]
    assert isinstance(edit, FaceEdit)
    left, top = (-edit.matrix[:, 2]).astype(int)
    x, y = still.points[5, 13, :2].astype(int)
    lips = still.images[5][y + 6 : y + 9, x - 4 : x + 5].mean()
    inside = edit.image[y - top + 1 : y - top + 16, x - left - 4 : x - left + 5].min(axis=(0, 1)).mean()
    assert inside < 0.55 * lips


class _NotingDriver(FileDriver):
    calls = 0

    def notes(self, speech: Speech) -> list[str]:
        self.calls += 1
        return ["the transcript does not match"]


def test_notes_of_the_driver_reach_the_observer_also_from_the_cache(talking: TalkingClip, tmp_path: Path) -> None:
    motion = motion_file(tmp_path / "m.npz", 48, opening=waves(48))
    driver = _NotingDriver(FileDriverConfig(path=motion), Runtime())
    for _ in range(2):
        opened = open_exemplar(talking, tmp_path / "cache", motion, driver)
        assert "the transcript does not match" in opened.observer.notes
    assert driver.calls == 1
