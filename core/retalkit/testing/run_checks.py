"""One call checks a stage: picks the kind, makes what the stage needs, runs every check."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from retalkit.errors import RetalkitError
from retalkit.geometry.schemes import COUNTS, IBUG68, MESH478
from retalkit.pipeline.plan import plan_driver
from retalkit.pipeline.ports import INITIAL_PORTS
from retalkit.plugins.availability import missing_packages
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import FoundStage, Registry
from retalkit.plugins.specs import StageConfig, StageSpec, incompatible_api
from retalkit.stages import Runtime, StageKind
from retalkit.testing.building import import_build
from retalkit.testing.checks.denoisers import examine_denoiser
from retalkit.testing.checks.detectors import DetectorSubject
from retalkit.testing.checks.enhancers import EnhancerSubject, ReferenceEnhancerSubject
from retalkit.testing.checks.expression_editors import EditorSubject
from retalkit.testing.checks.frames import examine_frames
from retalkit.testing.checks.lip_syncers import LipSyncerSubject
from retalkit.testing.checks.reconstructors import ReconstructorSubject
from retalkit.testing.checks.specs import look_at_spec, look_at_types
from retalkit.testing.checks.subject import Clips, FrameSubject
from retalkit.testing.examination import CallError, Examination, StopCheckError, one_line
from retalkit.testing.fixtures import upstream
from retalkit.testing.report import Report
from retalkit.weights.describe import missing_weights
from retalkit.weights.store import WeightStore

Spec = StageSpec | FoundStage
Options = Mapping[str, Any]

_BUILD = "StageSpec.build makes a stage of its options, and does no work of a clip."
_OPEN_REFERENCES = "An enhancer whose spec gives reference:image has open_references(), see retalkit.stages."
_CONFIG = "What a StageConfig answers follows from its options, and raises nothing."


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
    exam = Examination(f"{found.spec.kind} '{found.spec.name}'", folder)
    with exam.check("spec"):
        look_at_types(found.spec, partial(exam.problem, "spec"))
        if exam.broken("spec"):
            exam.skip("all other checks", "the spec cannot be read: mend it first")
            return exam.report()
        look_at_spec(found, partial(exam.problem, "spec"))
    try:
        if (reason := incompatible_api(found.spec.kind, found.spec.api) or missing_packages(found)) is not None:
            raise _UnavailableError(reason)
        config = _config(found, options)
        with exam.check("build"):
            exam.runtime = _answered(exam, _runtime, found, config)
            look = _answered(exam, _looks, found, config, exam)
            relative = any(not path.is_absolute() for path in config.files().values())
            import_build(exam, found.spec.build, _BUILD)
            with exam.watched(change_folder=not relative):
                look(_built(exam, found.spec, config))
    except _UnavailableError as unavailable:
        return exam.report(unavailable=str(unavailable))
    return exam.report()


def _answered(exam: Examination, function: Callable[..., Any], *arguments: Any) -> Any:
    """What follows from what the stage's options answer."""
    try:
        return exam.tried("reading the options", function, *arguments)
    except CallError as failed:
        if isinstance(failed.__cause__, _UnavailableError):
            raise failed.__cause__ from None
        exam.raised("build", "reading the options", failed, "", _CONFIG)
        raise StopCheckError from failed


def _built(exam: Examination, spec: StageSpec, config: StageConfig) -> Any:
    """The stage."""
    stage = exam.call("build", "building it", _BUILD, spec.make, config, exam.runtime)
    exam.module = type(stage).__module__
    exam.has("build", "what was built", stage, ("open",), f"A {spec.kind} has open(), see retalkit.stages.")
    return stage


def _config(found: FoundStage, options: Options) -> StageConfig:
    try:
        return found.spec.config.model_validate(dict(options))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise _UnavailableError(f"its options do not fit ({wrong}): check_stage(..., options={{...}})") from error


def _runtime(found: FoundStage, config: StageConfig) -> Runtime:
    """What the stage is built with: weights of the store, and the drivers that its options name."""
    choices = config.drivers()
    registry = discover() if choices else Registry()
    try:
        chosen = {name: plan_driver(choice, registry, name) for name, choice in choices.items()}
    except RetalkitError as error:
        raise _UnavailableError(f"its driver cannot be used ({one_line(error)})") from error
    store = WeightStore()
    names = tuple(dict.fromkeys((*found.spec.checkpoints, *config.checkpoints())))
    if absent := [name for name in names if store.path(name) is None]:
        raise _UnavailableError(missing_weights(absent))
    runtime = Runtime(weights={name: store.file(name) for name in names})
    try:
        drivers = {name: driver.make(runtime) for name, driver in chosen.items()}
    except RetalkitError as error:
        raise _UnavailableError(f"its driver cannot be built ({one_line(error)})") from error
    return replace(runtime, drivers=drivers)


def _looks(found: FoundStage, config: StageConfig, exam: Examination) -> Callable[[Any], None]:
    """What is to be done with the built stage."""
    spec = found.spec
    if spec.kind == StageKind.DENOISER:
        return lambda stage: examine_denoiser(exam, stage)
    needs = spec.needs | config.needs()
    clips = _clips(spec.kind, needs)

    def look(stage: Any) -> None:
        subject = _subject(spec, exam, stage, needs)
        subject.lacks = _lacks(spec.kind, needs)
        slow = examine_frames(subject, clips)
        if spec.enhances_references:
            part = exam.part("reference_")
            with part.check("build"):
                part.has("build", "what was built", stage, ("open_references",), _OPEN_REFERENCES)
                examine_frames(ReferenceEnhancerSubject(part, stage), clips, briefly=slow)

    return look


def _subject(spec: StageSpec, exam: Examination, stage: Any, needs: frozenset[str]) -> FrameSubject:
    images = "reference:image" in needs
    if spec.kind == StageKind.DETECTOR:
        return DetectorSubject(exam, stage, _suffix(spec.gives, "landmarks:"))
    if spec.kind == StageKind.RECONSTRUCTOR:
        return ReconstructorSubject(exam, stage, _suffix(spec.gives, "coefficients:"), "frames" in needs)
    if spec.kind == StageKind.EXPRESSION_EDITOR:
        return EditorSubject(exam, stage, spec.gives)
    if spec.kind == StageKind.LIP_SYNCER:
        return LipSyncerSubject(exam, stage, images)
    return EnhancerSubject(exam, stage, images)


def _lacks(kind: StageKind, needs: frozenset[str]) -> str:
    """What the kit does not give to a stage that names no need of it, in a sentence."""
    if kind in (StageKind.DETECTOR, StageKind.RECONSTRUCTOR):
        return ""
    absent = {"coefficients:": "coefficients are [T, 0]"}
    if kind != StageKind.EXPRESSION_EDITOR:
        absent["reference:image"] = "reference images are None"
    unnamed = [port for port in absent if not any(need.startswith(port) for need in needs)]
    said = [f"{absent[port]} (its needs name no `{port}`)" for port in unnamed]
    return f"Here {' and '.join(said)}." if said else ""


def _clips(kind: StageKind, needs: frozenset[str]) -> Clips:
    """The kit's clips, in landmarks and coefficients that the stage takes."""
    scheme = _suffix(needs, "landmarks:") or MESH478
    # Who needs none gets none.
    space = _suffix(needs, "coefficients:")
    if scheme not in COUNTS:
        raise _UnavailableError(f"needs landmarks:{scheme}, which the kit cannot make")
    if space and space not in upstream.SPACES:
        raise _UnavailableError(f"needs coefficients:{space}, which the kit cannot make")
    given = {*INITIAL_PORTS, "face:edit", "reference:landmarks", "reference:image"}
    families = ("landmarks:", "coefficients:")
    if unknown := sorted(port for port in needs - given if not port.startswith(families)):
        raise _UnavailableError(f"needs {', '.join(unknown)}, which the kit cannot make")
    chosen = kind == StageKind.DETECTOR or any(port.startswith("landmarks:") for port in needs)
    try:
        # Behind a detector of the face mesh a stage converts by itself; the odd clip brings its own scheme.
        usual = MESH478 if scheme == IBUG68 else scheme
        return Clips(
            whole=upstream.clip(usual, space),
            odd=upstream.odd_clip(scheme, space),
            one_pixel=upstream.one_pixel_clip(usual, space),
            one_frame=upstream.one_frame_clip(usual, space),
            faceless=upstream.faceless_clip(usual, space),
            silent=upstream.silent_clip(usual, space),
            short_speech=upstream.short_speech_clip(usual, space),
            long=partial(upstream.long_clip, scheme=usual, space=space),
            undeclared=None if chosen else upstream.clip(IBUG68, space),
        )
    except Exception as error:
        raise _UnavailableError(f"the kit could not make its material: {one_line(error)}") from error


def _suffix(ports: frozenset[str], start: str) -> str:
    return next((port.removeprefix(start) for port in sorted(ports) if port.startswith(start)), "")
