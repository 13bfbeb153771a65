"""Run configuration models, presets, and merging of the configuration layers.

The layers are the preset, the run file and the overrides, in order of increasing precedence. A stage in the run file
replaces the preset's stage and all its options. An override changes a single value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from retalkit.config.former_keys import check_former_keys
from retalkit.config.layers import Layers
from retalkit.config.messages import describe, error_code
from retalkit.config.output import OutputConfig, SoundConfig, expand_sound
from retalkit.config.relative_paths import locate
from retalkit.config.yaml_io import KeyPath
from retalkit.errors import ConfigError, PluginError
from retalkit.plugins.registry import FoundDriver, FoundFinisher, FoundStage, Registry, nearest
from retalkit.plugins.specs import Choice, DriverChoice, StageConfig
from retalkit.provenance.options import LabelOptions, ProvenanceOptions
from retalkit.speech.activity_options import VoiceActivityOptions
from retalkit.stages import StageKind

DEFAULT_PRESET = "embedded"

SINGLE_KINDS = (
    StageKind.DETECTOR,
    StageKind.RECONSTRUCTOR,
    StageKind.EXPRESSION_EDITOR,
    StageKind.DENOISER,
    StageKind.LIP_SYNCER,
)
"""Stage kinds that occur exactly once per run, in pipeline order."""

ENHANCER_LISTS = ("reference_enhancers", "enhancers")
"""Run file keys that contain lists of enhancers."""


class PhotoConfig(BaseModel):
    """Animation of a still image."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    motion: Annotated[
        Literal["gentle", "none"],
        Field(
            description="Motion of the head in a still image; 'gentle' adds small head motion that follows the speech, "
            "and blinks."
        ),
    ] = "gentle"


class RunConfig(BaseModel):
    """Run configuration, which contains all settings that affect the result."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    detector: Choice
    reconstructor: Choice
    expression_editor: Choice
    denoiser: Choice
    lip_syncer: Choice
    reference_enhancers: Annotated[
        tuple[Choice, ...], Field(description="Enhancers applied in order to the lip syncer's reference images.")
    ] = ()
    enhancers: Annotated[
        tuple[Choice, ...], Field(description="Enhancers applied in order to the lip-synced face.")
    ] = ()
    finishers: Annotated[
        tuple[Choice, ...],
        Field(description="Finishers applied in order to the output file before the file is moved to the output path."),
    ] = ()
    face: Annotated[
        Literal["largest"] | int,
        Field(description="Face to edit: 'largest', or the face's index counted from 0 at the left."),
    ] = "largest"
    recogniser: Annotated[
        str,
        Field(
            description="Face recogniser that recognises persons in runs with cues; 'auto' selects the best recogniser "
            "that can run."
        ),
    ] = "auto"
    speech_track: Annotated[
        int | None,
        Field(
            ge=0,
            description="Audio track of the speech files that drives the mouth, counted from 0; null selects the "
            "track that a file marks as the default.",
        ),
    ] = None
    length: Annotated[
        Literal["speech", "video"],
        Field(
            description="Input whose duration the output matches; with 'video', the mouth is at rest after the speech."
        ),
    ] = "speech"
    extend: Annotated[
        Literal["pingpong", "loop", "freeze", "cut"],
        Field(description="Method for extending a video that is shorter than the speech."),
    ] = "pingpong"
    device: Annotated[
        str,
        Field(pattern=r"^(cpu|cuda(:[0-9]+)?|mps)$", description="Device for the networks: cpu, cuda, cuda:N or mps."),
    ] = "cpu"
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"], Field(description="Floating-point format of the networks.")
    ] = "float32"
    threads: Annotated[
        int,
        Field(
            ge=0,
            le=1024,
            description="Number of CPU threads for the networks; 0 selects the inference library's default.",
        ),
    ] = 0
    inference: Annotated[
        Literal["auto", "torch", "openvino"],
        Field(
            description="Inference library; 'auto' selects OpenVINO for float32 and bfloat16 on the CPU if OpenVINO is "
            "installed, and PyTorch otherwise."
        ),
    ] = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**63, description="Seed for all random number generators.")] = 0
    voice_activity: VoiceActivityOptions = VoiceActivityOptions()
    analysis_seconds: Annotated[
        float,
        Field(gt=0, description="Minimum duration of source video analysed for mouth shapes, in seconds."),
    ] = 120.0
    cache_limit_gb: Annotated[
        float,
        Field(ge=0, description="Maximum cache size in gigabytes (10^9 bytes); the oldest results are removed first."),
    ] = 20.0
    photo: PhotoConfig = PhotoConfig()
    output: OutputConfig = OutputConfig()
    provenance: ProvenanceOptions = ProvenanceOptions()
    sound: Annotated[
        SoundConfig,
        Field(description="Sound of the output: 'speech', 'original', the path of a finished mix, or a mapping."),
    ] = SoundConfig()
    label: Annotated[
        LabelOptions | None, Field(description="Visible label on the output: its text, or a mapping with its options.")
    ] = None

    @field_validator("face", mode="before")
    @classmethod
    def _face(cls, value: Any) -> Any:
        if value == "largest" or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
            return value
        raise ValueError("must be 'largest' or a face index, counted from 0")

    @field_validator("sound", mode="before")
    @classmethod
    def _sound(cls, value: Any) -> Any:
        return expand_sound(value) if isinstance(value, str) else value

    @property
    def cache_limit_bytes(self) -> int:
        return round(self.cache_limit_gb * 1e9)

    @property
    def choices(self) -> list[tuple[StageKind, str, Choice]]:
        """Return the kind, configuration path (such as ``enhancers.0``) and choice of every stage."""
        single = [(kind, kind.value, getattr(self, kind.value)) for kind in SINGLE_KINDS]
        lists = [
            (StageKind.ENHANCER, f"{name}.{number}", choice)
            for name in ENHANCER_LISTS
            for number, choice in enumerate(getattr(self, name))
        ]
        return [*single, *lists]

    @classmethod
    def from_preset(cls, name: str = DEFAULT_PRESET, *, registry: Registry, overrides: Sequence[str] = ()) -> RunConfig:
        """Return a bundled preset's configuration after applying ``overrides``. Raises ConfigError.

        An override has the form ``KEY=VALUE``, such as ``lip_syncer.use=exemplar``.
        """
        return load(registry, preset=name, overrides=overrides)

    @classmethod
    def from_file(cls, path: Path, *, registry: Registry, overrides: Sequence[str] = ()) -> RunConfig:
        """Return the configuration of a run file merged with its preset. Raises ConfigError."""
        return load(registry, file=path, overrides=overrides)


def preset_names() -> list[str]:
    """Return the names of the bundled presets."""
    files = resources.files("retalkit.config") / "presets"
    return sorted(file.name.removesuffix(".yaml") for file in files.iterdir() if file.name.endswith(".yaml"))


def load(
    registry: Registry,
    *,
    file: Path | None = None,
    preset: str | None = None,
    overrides: Sequence[str | tuple[str, Any, str]] = (),
    folders: Mapping[str, Path] | None = None,
) -> RunConfig:
    """Return the configuration merged from a preset, a run file and overrides, and validated with each stage's options.

    ``preset`` takes precedence over the preset in the run file. An override is either ``KEY=VALUE`` with a YAML value,
    or a tuple (key path, value, source for error messages). If a stage that only the preset specifies is not installed,
    no error is raised here, because the planner reports all missing stages together.

    ``folders``: mapping from the source of an override to the directory to which relative paths in the override refer
    (default: the working directory).

    Raises ConfigError with the file, line and key path if the configuration is invalid, and PluginError if a stage name
    is ambiguous.
    """
    layers = Layers()
    named = layers.read(file) if file is not None else None
    name, owner = (named[0], named[1]) if named is not None and preset is None else (preset or DEFAULT_PRESET, "")
    layers.add_below(_preset_path(name, owner), f"preset '{name}'")
    for override in overrides:
        layers.parse_override(override)
    layers.apply_overrides()
    check_former_keys(layers.data, layers.origin)
    _add_default_drivers(layers, registry)
    try:
        config = RunConfig.model_validate(layers.data)
    except ValidationError as error:
        message = describe(error, RunConfig, layers.data, (), layers.origin)
        raise ConfigError(message, code=error_code(error)) from error
    for kind, place, choice in config.choices:
        _check_stage(kind, place, choice, registry, layers)
    for number, choice in enumerate(config.finishers):
        _check_finisher(number, choice, registry, layers)
    if folders and locate(layers, _models(config, registry), folders):
        return RunConfig.model_validate(layers.data)
    return config


def _models(config: RunConfig, registry: Registry) -> Iterator[tuple[KeyPath, BaseModel]]:
    """Yield the validated configuration and the validated options of each stage, driver and finisher."""
    yield (), config
    for kind, place, choice in config.choices:
        parts = tuple(int(part) if part.isdigit() else part for part in place.split("."))
        if len(registry.candidates(kind, choice.use)) != 1:
            continue
        options = read_options(registry.find(kind, choice.use), choice)
        yield parts, options
        for name, driver in options.drivers().items():
            yield (*parts, name), read_options(registry.driver(driver.use), driver)
    for number, choice in enumerate(config.finishers):
        yield ("finishers", number), read_options(registry.finisher(choice.use), choice)


def read_options(found: FoundStage | FoundDriver | FoundFinisher, choice: Choice) -> StageConfig:
    """Return the options of a stage, driver or finisher, validated by its options model. Raises ConfigError."""
    try:
        return found.spec.config.model_validate(choice.options)
    except ValidationError as error:
        where = (found.label.partition(" ")[0],)
        text = describe(error, found.spec.config, choice.options, where, None, found.label)
        raise ConfigError(text, code=error_code(error)) from error


def effective(config: RunConfig, registry: Registry) -> dict[str, Any]:
    """Return the full configuration, including all stage options, as plain data that forms a valid run file."""
    data = config.model_dump(mode="json")
    for kind, place, choice in config.choices:
        offered = registry.candidates(kind, choice.use)
        if len(offered) != 1:
            continue
        options = read_options(offered[0], choice)
        full = {"use": choice.use, **options.model_dump(mode="json")}
        for option, driver in options.drivers().items():
            driver_options = read_options(registry.driver(driver.use), driver)
            full[option] = {"use": driver.use, **driver_options.model_dump(mode="json")}
        name, _, number = place.partition(".")
        if number:
            data[name][int(number)] = full
        else:
            data[name] = full
    for position, choice in enumerate(config.finishers):
        finisher = read_options(registry.finisher(choice.use), choice)
        data["finishers"][position] = {"use": choice.use, **finisher.model_dump(mode="json")}
    return data


def _add_default_drivers(layers: Layers, registry: Registry) -> None:
    """Add the default driver to overridden driver options that contain no driver name."""
    for kind, option in layers.overridden_options():
        stage: Any = layers.data.get(kind)
        value: Any = stage.get(option) if isinstance(stage, dict) else None
        if not isinstance(value, dict) or "use" in value:
            continue
        candidates = registry.candidates(StageKind(kind), str(stage.get("use")))
        if len(candidates) != 1:
            continue
        field = candidates[0].spec.config.model_fields.get(option)
        if field is not None and isinstance(field.default, DriverChoice):
            stage[option] = {"use": field.default.use, **field.default.options, **value}


def read_driver_options(choice: Choice, registry: Registry) -> StageConfig:
    """Return the options of a driver, validated by its options model. Raises ConfigError."""
    found = registry.driver(choice.use)
    try:
        return read_options(found, choice)
    except ConfigError as error:
        raise ConfigError(f"{error}{_driver_hint(found, choice, registry)}", code=error.code) from error


def _driver_hint(found: FoundDriver, choice: Choice, registry: Registry) -> str:
    """Return a hint that contains the drivers with an option that the selected driver does not have."""
    unknown = [name for name in choice.options if name not in found.spec.config.model_fields]
    names = [
        f"'{each.spec.name}'" for each in registry.drivers if unknown and unknown[0] in each.spec.config.model_fields
    ]
    return f"; {unknown[0]} is an option of the driver {' or '.join(names)}" if names else ""


def _preset_path(name: str, owner: str) -> Path:
    names = preset_names()
    if name not in names:
        begin = f"{owner}: " if owner else ""
        message = f"{begin}unknown preset '{name}'{nearest(name, names) or '; available: ' + ', '.join(names)}"
        raise ConfigError(message, code="unknown-preset")
    return Path(str(resources.files("retalkit.config") / "presets" / f"{name}.yaml"))


def _check_stage(kind: StageKind, place: str, choice: Choice, registry: Registry, layers: Layers) -> None:
    parts = tuple(int(part) if part.isdigit() else part for part in place.split("."))
    origin = layers.origin((*parts, "use"))
    if origin.startswith("preset ") and not registry.candidates(kind, choice.use):
        return
    try:
        found = registry.find(kind, choice.use)
    except (ConfigError, PluginError) as error:
        raise type(error)(f"{origin}: {place}: {error}", code=error.code) from error
    options = _validated(found.spec.config, choice, parts, layers, found.label)
    for name, driver in options.drivers().items():
        _check_driver((*parts, name), driver, registry, layers)


def _check_driver(parts: tuple[str | int, ...], choice: Choice, registry: Registry, layers: Layers) -> None:
    try:
        found = registry.driver(choice.use)
    except (ConfigError, PluginError) as error:
        where = ".".join(str(part) for part in (*parts, "use"))
        origin = layers.origin((*parts, "use"))
        raise type(error)(f"{f'{origin}: ' if origin else ''}{where}: {error}", code=error.code) from error
    try:
        _validated(found.spec.config, choice, parts, layers, f"driver '{found.spec.name}'")
    except ConfigError as error:
        raise ConfigError(f"{error}{_driver_hint(found, choice, registry)}", code=error.code) from error


def _check_finisher(number: int, choice: Choice, registry: Registry, layers: Layers) -> None:
    parts = ("finishers", number)
    try:
        found = registry.finisher(choice.use)
    except (ConfigError, PluginError) as error:
        origin = layers.origin((*parts, "use"))
        raise type(error)(f"{origin}: finishers.{number}: {error}", code=error.code) from error
    _validated(found.spec.config, choice, parts, layers, f"finisher '{found.spec.name}'")


def _validated(
    model: type[StageConfig], choice: Choice, parts: tuple[str | int, ...], layers: Layers, label: str
) -> StageConfig:
    try:
        return model.model_validate(choice.options)
    except ValidationError as error:
        text = describe(error, model, choice.options, parts, layers.origin, label)
        raise ConfigError(text, code=error_code(error)) from error
