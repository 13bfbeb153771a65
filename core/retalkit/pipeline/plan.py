"""Plan of a run. The planner selects the stages and verifies their compatibility and requirements before the run
starts."""

from __future__ import annotations

import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retalkit._version import __version__
from retalkit.config import Choice, RunConfig, read_options
from retalkit.config.model import read_driver_options
from retalkit.errors import ConfigError, PlanError
from retalkit.paths import missing
from retalkit.pipeline.devices import check_device, check_inference
from retalkit.pipeline.planned_stage import PlannedDriver, PlannedFinisher, PlannedRecogniser, PlannedStage
from retalkit.pipeline.ports import INITIAL_PORTS, MUST_GIVE, alternatives, find_provider, missing_port_message
from retalkit.plugins.availability import (
    missing_driver_packages,
    missing_option_packages,
    missing_packages,
    recogniser_availability,
)
from retalkit.plugins.registry import FoundFinisher, Registry, nearest
from retalkit.plugins.specs import StageConfig, incompatible_api
from retalkit.plugins.validation import AUTO
from retalkit.provenance.plugin import CONTENT_CREDENTIALS, LABEL
from retalkit.stages import (
    Denoiser,
    Detector,
    DigitalSourceType,
    Enhancer,
    ExpressionEditor,
    LipSyncer,
    Reconstructor,
    ReferenceEnhancer,
    StageKind,
)
from retalkit.weights.describe import missing_weights
from retalkit.weights.store import WeightStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Stages of a run, typed by the protocols that the stages implement."""

    config: RunConfig
    detector: PlannedStage[Detector]
    reconstructor: PlannedStage[Reconstructor]
    expression_editor: PlannedStage[ExpressionEditor]
    reference_enhancers: tuple[PlannedStage[ReferenceEnhancer], ...] = ()
    denoiser: PlannedStage[Denoiser]
    lip_syncer: PlannedStage[LipSyncer]
    enhancers: tuple[PlannedStage[Enhancer], ...] = ()
    finishers: tuple[PlannedFinisher, ...] = ()
    recogniser: PlannedRecogniser | None = None
    """Face recogniser of runs with cues, or None if no recogniser can run."""

    @property
    def stages(self) -> tuple[PlannedStage[Any], ...]:
        """Return all stages in the order in which their results are used."""
        return (
            self.detector,
            self.reconstructor,
            self.expression_editor,
            *self.reference_enhancers,
            self.denoiser,
            self.lip_syncer,
            *self.enhancers,
        )

    @property
    def pixel_stages(self) -> tuple[PlannedStage[Any], ...]:
        """Return the stages that generate pixels: expression editor, reference enhancers, lip syncer and enhancers."""
        return (self.expression_editor, *self.reference_enhancers, self.lip_syncer, *self.enhancers)

    @property
    def is_parallel(self) -> bool:
        """Whether several processes may render parts of the run."""
        return all(stage.found.spec.parallel for stage in self.pixel_stages)

    @property
    def digital_source_type(self) -> DigitalSourceType:
        """Return the digital source type of the output, which is the last type among the types of all stages."""
        types = {stage.found.spec.output_source_type for stage in self.pixel_stages}
        return max((t for t in types if t is not None), key=list(DigitalSourceType).index)

    def package_versions(self) -> dict[str, str]:
        """Return a mapping from each package or plugin file that provides a stage, driver or finisher to its
        version."""
        drivers = [driver.found for stage in self.stages for driver in stage.drivers.values()]
        found = [*(stage.found for stage in self.stages), *drivers, *(each.found for each in self.finishers)]
        return {each.package: each.package_version for each in found}


def plan(config: RunConfig, registry: Registry) -> Plan:
    """Select the stages of a run and validate the plan.

    Raises PlanError if a stage is not installed, cannot run on this machine, or requires a port that no earlier stage
    provides. Raises ConfigError if an option is invalid. Raises PluginError if several packages provide the selected
    stage.
    """
    _check_installed(config, registry)
    store = WeightStore()
    stages = [_planned(*choice, registry) for choice in _in_order(config)]
    for stage in stages:
        _check_runnable(stage, registry)
    _check_weights(stages, registry, store)
    check_device(config, stages)
    check_inference(config)
    stages = [_with_weights(stage, store) for stage in stages]
    requested: list[set[str]] = [set() for _ in stages]
    for position, stage in enumerate(stages):
        for need in sorted(stage.needs):
            provider = find_provider(need, stages[:position])
            if provider is not None:
                requested[provider[0]].add(provider[1])
            elif need not in INITIAL_PORTS:
                raise PlanError(missing_port_message(need, stage, stages[:position], registry), code="missing-port")
    stages = [replace(stage, requested_ports=frozenset(r)) for stage, r in zip(stages, requested, strict=True)]
    by_kind = {stage.kind: stage for stage in stages}
    return Plan(
        config=config,
        detector=by_kind[StageKind.DETECTOR],
        reconstructor=by_kind[StageKind.RECONSTRUCTOR],
        expression_editor=by_kind[StageKind.EXPRESSION_EDITOR],
        reference_enhancers=tuple(stage for stage in stages if stage.enhances_references),
        denoiser=by_kind[StageKind.DENOISER],
        lip_syncer=by_kind[StageKind.LIP_SYNCER],
        enhancers=tuple(s for s in stages if s.kind == StageKind.ENHANCER and not s.enhances_references),
        finishers=_planned_finishers(config, registry),
        recogniser=_planned_recogniser(config.recogniser, registry, store),
    )


def choose_driver(chosen: Plan, name: str | None) -> Choice:
    """Return the choice of the driver ``name``, or of the lip syncer's driver if ``name`` is None.

    A driver that the lip syncer uses has the configured options. Any other driver has default options. Raises PlanError
    if ``name`` is None and the lip syncer uses no driver.
    """
    configured = chosen.lip_syncer.config.drivers().values()
    choice = next((each for each in configured if name in (None, each.use)), None)
    if choice is not None:
        return choice
    if name is None:
        raise PlanError(f"{chosen.lip_syncer.label} uses no driver; specify --driver NAME", code="missing-driver")
    return Choice(use=name)


def plan_driver(choice: Choice, registry: Registry, config_path: str) -> PlannedDriver:
    """Select and validate a driver so that it can be evaluated without a lip syncer.

    ``config_path`` identifies the driver in messages, for example ``--driver``. Raises ConfigError if the name is
    unknown or an option is invalid. Raises PlanError if packages, files or weights are missing.
    """
    driver = _planned_driver(choice, registry)
    _check_driver(driver, config_path)
    store, names = WeightStore(), driver.config.checkpoints()
    if missing := [name for name in names if store.path(name) is None]:
        reason = missing_weights(missing, registry.checkpoints, store.folder)
        message = f"{config_path}: {driver.found.label} cannot run here: {reason}"
        raise PlanError(message, code="missing-weights")
    return replace(driver, weights={name: store.file(name) for name in names})


def plan_stage(kind: StageKind, choice: Choice, registry: Registry, config_path: str) -> PlannedStage[Any]:
    """Select and validate a stage that is used without the other stages of a run.

    ``config_path`` identifies the stage in messages. The ports that the stage requires are not checked. Raises
    ConfigError if an option is invalid. Raises PlanError if the stage is not installed, or if packages, files or
    weights are missing.
    """
    if not registry.candidates(kind, choice.use):
        hint = nearest(choice.use, registry.names(kind))
        raise PlanError(f"{config_path}: {kind.value} '{choice.use}' is not installed{hint}", code="unknown-stage")
    stage, store = _planned(kind, config_path, choice, registry), WeightStore()
    _check_runnable(stage, registry)
    _check_weights([stage], registry, store)
    return _with_weights(stage, store)


def required_checkpoints(config: RunConfig, registry: Registry) -> list[str]:
    """Return the names of all checkpoints that a run loads, whether or not they are in the weight store.

    Raises PlanError if a stage is not installed. Raises ConfigError if an option is invalid.
    """
    _check_installed(config, registry)
    return list(dict.fromkeys(n for choice in config.choices for n in _checkpoints(_planned(*choice, registry))))


def _in_order(config: RunConfig) -> list[tuple[StageKind, str, Choice]]:
    """Return the stage choices of a configuration in the order in which the stages' results are used."""
    first = [choice for choice in config.choices if choice[0] in (StageKind.DETECTOR, StageKind.RECONSTRUCTOR)]
    editor = [choice for choice in config.choices if choice[0] == StageKind.EXPRESSION_EDITOR]
    references = [choice for choice in config.choices if choice[1].startswith("reference_enhancers.")]
    rest = [choice for choice in config.choices if choice not in (*first, *editor, *references)]
    return [*first, *editor, *references, *rest]


def _planned(kind: StageKind, config_path: str, choice: Choice, registry: Registry) -> PlannedStage[Any]:
    found = registry.find(kind, choice.use)
    options = read_options(found, choice)
    drivers = {name: _planned_driver(driver, registry) for name, driver in options.drivers().items()}
    return PlannedStage(found, options, config_path, drivers)


def _planned_driver(choice: Choice, registry: Registry) -> PlannedDriver:
    return PlannedDriver(registry.driver(choice.use), read_driver_options(choice, registry))


def _planned_finishers(config: RunConfig, registry: Registry) -> tuple[PlannedFinisher, ...]:
    """Return the finishers in the run file, followed by the label and the signature.

    Changes after the signature would invalidate the signature. The last two specs do not come from the registry, so no
    other plugin can replace them.
    """
    planned: list[tuple[str, PlannedFinisher]] = []
    for number, choice in enumerate(config.finishers):
        found = registry.finisher(choice.use)
        if found.spec.name == CONTENT_CREDENTIALS.name:
            raise PlanError(
                f"finishers.{number}: '{choice.use}' cannot be listed because the signature is always applied last; "
                "set its options under provenance",
                code="misplaced-finisher",
            )
        planned.append((f"finishers.{number}", PlannedFinisher(found, read_options(found, choice))))
    if config.label is not None:
        planned.append(("label", PlannedFinisher(FoundFinisher(LABEL, "retalkit", __version__), config.label)))
    if config.provenance.sign:
        found = FoundFinisher(CONTENT_CREDENTIALS, "retalkit", __version__)
        planned.append(("provenance", PlannedFinisher(found, config.provenance.signing())))
    for place, finisher in planned:
        if (reason := missing_driver_packages(finisher.found)) is not None:
            name = finisher.found.spec.name
            raise PlanError(f"{place}: '{name}' cannot run here: it {reason}", code="missing-package")
        _check_files(finisher.config, place)
    return tuple(finisher for _, finisher in planned)


def _planned_recogniser(name: str, registry: Registry, store: WeightStore) -> PlannedRecogniser | None:
    if name == AUTO:
        found = next((each for each in registry.recognisers if recogniser_availability(each) is None), None)
        if found is None:
            return None
    else:
        found = registry.recogniser(name)
        if (reason := recogniser_availability(found)) is not None:
            raise PlanError(f"recogniser: '{name}' cannot run here: it {reason}", code="missing-package")
    names = found.spec.checkpoints
    return PlannedRecogniser(
        found, {name: store.file(name) for name in names}, {name: store.sha256(name) for name in names}
    )


def _check_runnable(stage: PlannedStage[Any], registry: Registry) -> None:
    """Raise PlanError if packages or files are missing, or if the spec does not declare the ports that its kind must
    provide."""
    if (reason := incompatible_api(stage.kind, stage.found.spec.api) or missing_packages(stage.found)) is not None:
        raise PlanError(
            f"{stage.label} cannot run here: it {reason}{alternatives(stage, registry)}", code="missing-package"
        )
    if stage.enhances_references and not stage.found.spec.enhances_references:
        raise PlanError(
            f"{stage.config_path}: {stage.label} does not enhance references; move the stage to `enhancers`",
            code="not-a-reference-enhancer",
        )
    for name, driver in stage.drivers.items():
        _check_driver(driver, f"{stage.config_path}.{name}")
    _check_files(stage.config, stage.config_path)
    start = MUST_GIVE.get(stage.kind)
    if start is not None and not any(port.startswith(start) for port in stage.found.spec.gives):
        port = f"{start}NAME" if start.endswith(":") else start
        raise PlanError(
            f"{stage.owner} does not declare the port {port}, which every {stage.kind.value} must provide; choose "
            "another stage and report the problem to the author",
            code="missing-port",
        )


def _check_driver(driver: PlannedDriver, config_path: str) -> None:
    """Raise PlanError if packages or files of a driver are missing."""
    if (reason := missing_driver_packages(driver.found)) is not None:
        raise PlanError(f"{config_path}: {driver.found.label} cannot run here: it {reason}", code="missing-package")
    _check_files(driver.config, config_path)


def _check_files(config: StageConfig, config_path: str) -> None:
    """Raise PlanError if a package or file that the options require is missing, or ConfigError if a file is invalid."""
    if (reason := missing_option_packages(config)) is not None:
        raise PlanError(f"{config_path}: cannot run with the given options: it {reason}", code="missing-package")
    for name, path in config.files().items():
        _check_file(path, f"{config_path}.{name}")
    try:
        config.check_files()
    except ConfigError as error:
        raise ConfigError(f"{config_path}: {error}", code=error.code) from error


def _check_file(path: Path, config_path: str) -> None:
    """Raise PlanError if ``path`` is not a readable file."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            with path.open("rb") as file:
                file.read(1)
            return
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PlanError(f"{config_path}: {missing(path)}", code="file-not-found") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PlanError(f"{config_path}: cannot read {path}: {reason}", code="unreadable-file") from error
    if path == Path():
        raise PlanError(f"{config_path}: the path is empty; specify a file", code="unreadable-file")
    kind = "a directory" if stat.S_ISDIR(mode) else "a pipe or device"
    raise PlanError(f"{config_path}: expected a file, but {path} is {kind}", code="unreadable-file")


def _check_weights(stages: list[PlannedStage[Any]], registry: Registry, store: WeightStore) -> None:
    """Raise PlanError if checkpoints are missing. The message lists their files, their sizes and the download
    command."""
    missing = {name: stage.label for stage in stages for name in _checkpoints(stage) if store.path(name) is None}
    if not missing:
        return
    labels = ", ".join(dict.fromkeys(missing.values()))
    reason = missing_weights(list(missing), registry.checkpoints, store.folder)
    raise PlanError(f"{labels} cannot run here: {reason}", code="missing-weights")


def _with_weights(stage: PlannedStage[Any], store: WeightStore) -> PlannedStage[Any]:
    names = _checkpoints(stage)
    files = {name: store.file(name) for name in names}
    return replace(stage, weights=files, weight_hashes={name: store.sha256(name) for name in names})


def _checkpoints(stage: PlannedStage[Any]) -> tuple[str, ...]:
    of_drivers = (name for driver in stage.drivers.values() for name in driver.config.checkpoints())
    return tuple(dict.fromkeys((*stage.found.spec.checkpoints, *stage.config.checkpoints(), *of_drivers)))


def _check_installed(config: RunConfig, registry: Registry) -> None:
    missing = [(kind, choice.use) for kind, _, choice in config.choices if not registry.candidates(kind, choice.use)]
    if not missing:
        return
    names = list(dict.fromkeys(f"{kind.value} '{use}'" for kind, use in missing))
    hint = nearest(missing[0][1], registry.names(missing[0][0])) if len(names) == 1 else ""
    verb = "is" if len(names) == 1 else "are"
    raise PlanError(
        f"{', '.join(names)} {verb} not installed{hint or '; `retalkit plugins` lists the installed stages'}",
        code="unknown-stage",
    )
