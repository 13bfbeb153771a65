"""Checks for stages of any kind. Each check constructs the stage and opens it for the kit's clips."""

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
from retalkit.testing.checks.denoisers import check_denoiser_stage
from retalkit.testing.checks.detectors import DetectorSubject
from retalkit.testing.checks.enhancers import EnhancerSubject, ReferenceEnhancerSubject
from retalkit.testing.checks.expression_editors import EditorSubject
from retalkit.testing.checks.frames import check_frames
from retalkit.testing.checks.lip_syncers import LipSyncerSubject
from retalkit.testing.checks.names import REFERENCE, check_names
from retalkit.testing.checks.reconstructors import ReconstructorSubject
from retalkit.testing.checks.specs import check_field_types, check_spec
from retalkit.testing.checks.subject import Clips, FrameSubject
from retalkit.testing.examination import CallError, Examination, StopCheckError, one_line
from retalkit.testing.fixtures import upstream
from retalkit.testing.report import Report
from retalkit.weights.describe import missing_weights
from retalkit.weights.store import WeightStore

Spec = StageSpec | FoundStage
Options = Mapping[str, Any]

_BUILD = "StageSpec.build must create a stage from its options and a Runtime, without processing a clip."
_OPEN_REFERENCES = "An enhancer that provides reference:image must have open_references(). See retalkit.stages."
_CONFIG = "The methods of a StageConfig must depend only on its options and must not raise exceptions."


def check_stage(spec: Spec, *, options: Options | None = None, folder: Path | None = None) -> Report:
    """Check a stage of any kind against its contract and return a report.

    ``options`` contains the stage options as in a run file, without ``use``. ``folder`` is an empty directory for the
    stage's caches. The default is a temporary directory. Problems are recorded in the report and do not raise
    exceptions. If the stage cannot run on this machine, the report contains the reason in ``unavailable`` and lists
    only problems of the spec.
    """
    found = spec if isinstance(spec, FoundStage) else FoundStage(spec, "", "", "")
    if folder is not None:
        return _check(found, options or {}, folder)
    with tempfile.TemporaryDirectory(prefix="retalkit-testing-", ignore_cleanup_errors=True) as made:
        return _check(found, options or {}, Path(made))


def check_detector(spec: Spec, *, options: Options | None = None, folder: Path | None = None) -> Report:
    """Run ``check_stage`` for a detector. Raises ValueError for other kinds."""
    return _check_kind(StageKind.DETECTOR, spec, options, folder)


def check_reconstructor(spec: Spec, *, options: Options | None = None, folder: Path | None = None) -> Report:
    """Run ``check_stage`` for a reconstructor. Raises ValueError for other kinds."""
    return _check_kind(StageKind.RECONSTRUCTOR, spec, options, folder)


def check_expression_editor(spec: Spec, *, options: Options | None = None, folder: Path | None = None) -> Report:
    """Run ``check_stage`` for an expression editor. Raises ValueError for other kinds."""
    return _check_kind(StageKind.EXPRESSION_EDITOR, spec, options, folder)


def check_denoiser(spec: Spec, *, options: Options | None = None, folder: Path | None = None) -> Report:
    """Run ``check_stage`` for a denoiser. Raises ValueError for other kinds."""
    return _check_kind(StageKind.DENOISER, spec, options, folder)


def check_lip_syncer(spec: Spec, *, options: Options | None = None, folder: Path | None = None) -> Report:
    """Run ``check_stage`` for a lip syncer. Raises ValueError for other kinds."""
    return _check_kind(StageKind.LIP_SYNCER, spec, options, folder)


def check_enhancer(spec: Spec, *, options: Options | None = None, folder: Path | None = None) -> Report:
    """Run ``check_stage`` for an enhancer. Raises ValueError for other kinds.

    ``open_references`` is also checked if the enhancer provides ``reference:image``.
    """
    return _check_kind(StageKind.ENHANCER, spec, options, folder)


def _check_kind(kind: StageKind, spec: Spec, options: Options | None, folder: Path | None) -> Report:
    actual = (spec.spec if isinstance(spec, FoundStage) else spec).kind
    if actual != kind:
        raise ValueError(f"expected kind '{kind.value}', got '{actual}': call check_stage or check_{actual}")
    return check_stage(spec, options=options, folder=folder)


class _UnavailableError(Exception):
    """Exception for a stage that cannot run on this machine. The message contains the reason."""


def _check(found: FoundStage, options: Options, folder: Path) -> Report:
    spec = found.spec
    exam = Examination(f"{spec.kind} '{spec.name}'", folder)
    with exam.check("spec"):
        check_field_types(spec, partial(exam.problem, "spec"))
        if exam.has_problem("spec"):
            exam.skip("all other checks", "the spec is invalid: fix `spec` first")
            return exam.report()
        check_spec(found, partial(exam.problem, "spec"))
    exam.names = check_names(spec)
    try:
        if (reason := incompatible_api(spec.kind, spec.api) or missing_packages(found)) is not None:
            raise _UnavailableError(reason)
        config = _config(found, options)
        with exam.check("build"):
            exam.runtime = _call_config(exam, _runtime, exam, found, config)
            check_built = _call_config(exam, _checks, found, config, exam)
            relative = any(not path.is_absolute() for path in config.files().values())
            exam.import_build(spec.build, _BUILD)
            with exam.sandboxed(change_folder=not relative):
                check_built(_build(exam, spec, config))
    except _UnavailableError as unavailable:
        return exam.report(unavailable=str(unavailable))
    return exam.report()


def _call_config(exam: Examination, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function that uses the methods of the stage's configuration. Any exception is recorded as a problem."""
    try:
        return exam.run("reading the options", function, *arguments)
    except CallError as failed:
        if isinstance(failed.__cause__, _UnavailableError):
            raise failed.__cause__ from None
        exam.record_exception("build", "reading the options", failed, "", _CONFIG)
        raise StopCheckError from failed


def _build(exam: Examination, spec: StageSpec, config: StageConfig) -> Any:
    stage = exam.call("build", "build", _BUILD, spec.make, config, exam.runtime)
    exam.module = type(stage).__module__
    exam.require_methods(
        "build", "the stage", stage, ("open",), "A stage must have the method open(). See retalkit.stages."
    )
    return stage


def _config(found: FoundStage, options: Options) -> StageConfig:
    try:
        return found.spec.config.model_validate(dict(options))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise _UnavailableError(
            f"invalid options ({wrong}): pass valid options as check_stage(..., options={{...}})"
        ) from error


def _runtime(exam: Examination, found: FoundStage, config: StageConfig) -> Runtime:
    """Return the stage's runtime, with links to the stored weight files and the drivers selected in the options."""
    choices = config.drivers()
    registry = discover() if choices else Registry()
    try:
        chosen = {name: plan_driver(choice, registry, name) for name, choice in choices.items()}
    except RetalkitError as error:
        raise _UnavailableError(f"the driver is not available ({one_line(error)})") from error
    store = WeightStore()
    names = tuple(dict.fromkeys((*found.spec.checkpoints, *config.checkpoints())))
    if absent := [name for name in names if store.path(name) is None]:
        raise _UnavailableError(missing_weights(absent))
    # PyTorch is used because OpenVINO would convert every network first and store the result outside the stage's cache.
    runtime = Runtime(inference="torch", weights={name: _link(exam, name, store.file(name)) for name in names})
    try:
        drivers = {name: driver.make(runtime) for name, driver in chosen.items()}
    except RetalkitError as error:
        raise _UnavailableError(f"the driver cannot be built ({one_line(error)})") from error
    return replace(runtime, drivers=drivers)


def _link(exam: Examination, name: str, file: Path) -> Path:
    """Create a link to a weight file. A check removes the link to test whether an open session still requires the
    file."""
    exam.weights_folder.mkdir(parents=True, exist_ok=True)
    link = exam.weights_folder / f"{name}{file.suffix}"
    if not link.is_symlink():
        link.symlink_to(file.resolve())
    return link.absolute()


def _checks(found: FoundStage, config: StageConfig, exam: Examination) -> Callable[[Any], None]:
    """Return the function that runs the checks on the constructed stage."""
    spec = found.spec
    if spec.kind == StageKind.DENOISER:
        return lambda stage: check_denoiser_stage(exam, stage)
    needs = spec.needs | config.needs()
    clips = _clips(spec.kind, needs)

    def check_built(stage: Any) -> None:
        subject = _subject(spec, exam, stage, needs)
        subject.omitted_inputs = _omitted_inputs(spec.kind, needs)
        slow = check_frames(subject, clips)
        if spec.enhances_references:
            part = exam.with_prefix(REFERENCE)
            with part.check("build"):
                part.require_methods("build", "the stage", stage, ("open_references",), _OPEN_REFERENCES)
                check_frames(ReferenceEnhancerSubject(part, stage), clips, briefly=slow)

    return check_built


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


def _omitted_inputs(kind: StageKind, needs: frozenset[str]) -> str:
    """Return a sentence that lists the inputs withheld from the stage because its spec does not declare them.

    The result is an empty string if no input is withheld.
    """
    if kind in (StageKind.DETECTOR, StageKind.RECONSTRUCTOR):
        return ""
    values = {"coefficients:": "the coefficients have the shape [T, 0]"}
    if kind != StageKind.EXPRESSION_EDITOR:
        values["reference:image"] = "the reference images are None"
    omitted = [port for port in values if not any(need.startswith(port) for need in needs)]
    parts = [f"{values[port]} because StageSpec.needs contains no `{port}` port" for port in omitted]
    return f"In this check, {' and '.join(parts)}." if parts else ""


def _clips(kind: StageKind, needs: frozenset[str]) -> Clips:
    """Return the kit's clips with the landmark scheme and the coefficient space that the stage requires."""
    scheme = _suffix(needs, "landmarks:") or MESH478
    # A stage that declares no coefficient space receives no coefficients.
    space = _suffix(needs, "coefficients:")
    if scheme not in COUNTS:
        raise _UnavailableError(f"the stage requires landmarks:{scheme}, which the kit cannot provide")
    if space and space not in upstream.SPACES:
        raise _UnavailableError(f"the stage requires coefficients:{space}, which the kit cannot provide")
    provided = {*INITIAL_PORTS, "face:edit", "reference:landmarks", "reference:image"}
    families = ("landmarks:", "coefficients:")
    if unknown := sorted(port for port in needs - provided if not port.startswith(families)):
        raise _UnavailableError(f"the stage requires {', '.join(unknown)}, which the kit cannot provide")
    named = kind == StageKind.DETECTOR or any(port.startswith("landmarks:") for port in needs)
    try:
        # A stage for ibug68 also accepts the face mesh detector's landmarks after conversion. Only the odd clip has
        # ibug68 landmarks.
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
            undeclared=None if named else upstream.clip(IBUG68, space),
        )
    except Exception as error:
        raise _UnavailableError(f"the kit's clips cannot be created: {one_line(error)}") from error


def _suffix(ports: frozenset[str], start: str) -> str:
    return next((port.removeprefix(start) for port in sorted(ports) if port.startswith(start)), "")
