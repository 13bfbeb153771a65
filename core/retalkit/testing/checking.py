"""One call checks a stage: picks the kind, makes what the stage needs, runs every check."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from retalkit.availability import missing_packages
from retalkit.discovery import FoundStage
from retalkit.geometry.schemes import COUNTS, IBUG68, MESH478
from retalkit.planning import INITIAL_PORTS
from retalkit.plugins import StageConfig, StageSpec
from retalkit.stages import StageKind
from retalkit.testing import upstream
from retalkit.testing.denoisers import examine_denoiser
from retalkit.testing.detectors import DetectorSubject
from retalkit.testing.enhancers import EnhancerSubject, ReferenceEnhancerSubject
from retalkit.testing.examination import Examination, one_line
from retalkit.testing.expression_editors import EditorSubject
from retalkit.testing.frames import Clips, FrameSubject, examine_frames
from retalkit.testing.lip_syncers import LipSyncerSubject
from retalkit.testing.reconstructors import ReconstructorSubject
from retalkit.testing.report import Report
from retalkit.testing.spec_checks import look_at_spec
from retalkit.weights.store import WeightStore

Spec = StageSpec | FoundStage
Options = Mapping[str, Any]


def check_stage(spec: Spec, *, options: Options | None = None, folder: Path | None = None) -> Report:
    """Checks a stage of any kind against its contract.

    ``options``: what a run file would say of it, besides ``use``. ``folder``: an empty folder for its caches; without
    one they lie in a temporary folder that is removed. A stage that cannot run here is reported as unavailable, with
    what its spec has wrong. Nothing is raised for what a stage does.
    """
    found = spec if isinstance(spec, FoundStage) else FoundStage(spec, "", "", "")
    if folder is not None:
        return _checked(found, options or {}, folder)
    with tempfile.TemporaryDirectory(prefix="retalkit-testing-", ignore_cleanup_errors=True) as made:
        return _checked(found, options or {}, Path(made))


def check_detector(spec: Spec, *, options: Options | None = None, folder: Path | None = None) -> Report:
    """``check_stage`` for a detector; any other kind raises ValueError."""
    return _of_kind(StageKind.DETECTOR, spec, options, folder)


def check_reconstructor(spec: Spec, *, options: Options | None = None, folder: Path | None = None) -> Report:
    """``check_stage`` for a reconstructor; any other kind raises ValueError."""
    return _of_kind(StageKind.RECONSTRUCTOR, spec, options, folder)


def check_expression_editor(spec: Spec, *, options: Options | None = None, folder: Path | None = None) -> Report:
    """``check_stage`` for an expression editor; any other kind raises ValueError."""
    return _of_kind(StageKind.EXPRESSION_EDITOR, spec, options, folder)


def check_denoiser(spec: Spec, *, options: Options | None = None, folder: Path | None = None) -> Report:
    """``check_stage`` for a denoiser; any other kind raises ValueError."""
    return _of_kind(StageKind.DENOISER, spec, options, folder)


def check_lip_syncer(spec: Spec, *, options: Options | None = None, folder: Path | None = None) -> Report:
    """``check_stage`` for a lip syncer; any other kind raises ValueError."""
    return _of_kind(StageKind.LIP_SYNCER, spec, options, folder)


def check_enhancer(spec: Spec, *, options: Options | None = None, folder: Path | None = None) -> Report:
    """``check_stage`` for an enhancer; any other kind raises ValueError. One that can work on the reference, too, is
    also tried there, unless ``options`` say where it works."""
    return _of_kind(StageKind.ENHANCER, spec, options, folder)


def _of_kind(kind: StageKind, spec: Spec, options: Options | None, folder: Path | None) -> Report:
    own = (spec.spec if isinstance(spec, FoundStage) else spec).kind
    if own != kind:
        raise ValueError(f"a {kind.value} is expected, this is a {own}: use check_stage or check_{own}")
    return check_stage(spec, options=options, folder=folder)


class _UnavailableError(Exception):
    """The stage cannot run here; the text says why."""


def _checked(found: FoundStage, options: Options, folder: Path) -> Report:
    exam = Examination(found.label, folder, {})
    with exam.check("spec"):
        look_at_spec(found, partial(exam.problem, "spec"))
    if exam.broken("spec") and found.spec.kind not in set(StageKind):
        return exam.report()
    try:
        if (reason := missing_packages(found)) is not None:
            raise _UnavailableError(reason)
        config = _config(found, options)
        exam.weights = _weights(found, config)
        look = _looks(found, config, options, exam)
    except _UnavailableError as unavailable:
        return exam.report(unavailable=str(unavailable))
    contract = "StageSpec.build makes a stage of its options, and does no work of a clip."
    with exam.check("build"):
        # Built once unwatched: what it imports may do what it likes.
        exam.call("build", "building it", contract, found.spec.make, config)
        relative = any(not path.is_absolute() for path in config.files().values())
        with exam.watched(change_folder=not relative):
            look(exam.call("build", "building it", contract, found.spec.make, config))
    return exam.report()


def _config(found: FoundStage, options: Options) -> StageConfig:
    try:
        return found.spec.config.model_validate(dict(options))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise _UnavailableError(f"its options do not fit ({wrong}): check_stage(..., options={{...}})") from error


def _weights(found: FoundStage, config: StageConfig) -> dict[str, Path]:
    store = WeightStore()
    names = tuple(dict.fromkeys((*found.spec.checkpoints, *config.checkpoints())))
    if absent := [name for name in names if store.path(name) is None]:
        raise _UnavailableError(f"needs the weights {', '.join(absent)}: see `retalkit weights list`")
    return {name: store.file(name) for name in names}


def _looks(found: FoundStage, config: StageConfig, options: Options, exam: Examination) -> Callable[[Any], None]:
    """What is to be done with the built stage."""
    spec = found.spec
    needs = spec.needs | config.needs()
    if spec.kind == StageKind.DENOISER:
        return lambda stage: examine_denoiser(exam, stage)
    clips = _clips(spec.kind, needs)

    def look(stage: Any) -> None:
        slow = False
        for subject in _subjects(spec, config, options, exam, stage, needs):
            slow = examine_frames(subject, clips, briefly=slow)

    return look


def _subjects(
    spec: StageSpec, config: StageConfig, options: Options, exam: Examination, stage: Any, needs: frozenset[str]
) -> list[FrameSubject]:
    images = "reference:image" in needs
    if spec.kind == StageKind.DETECTOR:
        return [DetectorSubject(exam, stage, _suffix(spec.gives, "landmarks:"))]
    if spec.kind == StageKind.RECONSTRUCTOR:
        return [ReconstructorSubject(exam, stage, _suffix(spec.gives, "coefficients:"), "frames" in needs)]
    if spec.kind == StageKind.EXPRESSION_EDITOR:
        return [EditorSubject(exam, stage, spec.gives)]
    if spec.kind == StageKind.LIP_SYNCER:
        return [LipSyncerSubject(exam, stage, images)]
    if config.on_reference():
        return [ReferenceEnhancerSubject(exam, stage)]
    subjects: list[FrameSubject] = [EnhancerSubject(exam, stage, images)]
    if "on" not in options and (on_reference := _on_reference(spec, options)) is not None:
        subjects.append(ReferenceEnhancerSubject(exam.part("reference_"), spec.make(on_reference)))
    return subjects


def _on_reference(spec: StageSpec, options: Options) -> StageConfig | None:
    """The options with ``on: reference``, where the enhancer can work there."""
    if "on" not in spec.config.model_fields:
        return None
    try:
        config = spec.config.model_validate({**options, "on": "reference"})
    except ValidationError:
        return None
    return config if config.on_reference() else None


def _clips(kind: StageKind, needs: frozenset[str]) -> Clips:
    """The kit's clips, in landmarks and coefficients that the stage takes."""
    scheme = _suffix(needs, "landmarks:") or MESH478
    space = _suffix(needs, "coefficients:") or "mesh"
    if scheme not in COUNTS:
        raise _UnavailableError(f"needs landmarks:{scheme}, which the kit cannot make")
    if space not in upstream.SPACES:
        raise _UnavailableError(f"needs coefficients:{space}, which the kit cannot make")
    given = {*INITIAL_PORTS, "face:edit", "reference:landmarks", "reference:image"}
    families = ("landmarks:", "coefficients:")
    if unknown := sorted(port for port in needs - given if not port.startswith(families)):
        raise _UnavailableError(f"needs {', '.join(unknown)}, which the kit cannot make")
    try:
        # Behind a detector of the face mesh a stage converts by itself; the odd clip brings its own scheme.
        usual = MESH478 if scheme == IBUG68 else scheme
        return Clips(
            whole=upstream.clip(usual, space),
            odd=upstream.odd_clip(scheme, space),
            one_pixel=upstream.one_pixel_clip(usual, space),
            one_frame=upstream.one_frame_clip(usual, space),
            faceless=upstream.faceless_clip(usual, space),
        )
    except Exception as error:
        raise _UnavailableError(f"the kit could not make its material: {one_line(error)}") from error


def _suffix(ports: frozenset[str], start: str) -> str:
    return next((port.removeprefix(start) for port in sorted(ports) if port.startswith(start)), "")
