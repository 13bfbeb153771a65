"""Static checks of specs, for which the stage or metric is not run."""

from __future__ import annotations

import difflib
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Final, cast

from retalkit.config.schema import option_descriptions
from retalkit.geometry.schemes import COUNTS
from retalkit.pipeline.ports import INITIAL_PORTS, MUST_GIVE
from retalkit.plugins.hooks import GROUP
from retalkit.plugins.metric_specs import Measure, MetricSpec
from retalkit.plugins.registry import FoundStage
from retalkit.plugins.specs import StageConfig, StageSpec, incompatible_api
from retalkit.stages import DigitalSourceType, StageKind
from retalkit.testing.fixtures.upstream import SPACES

Note = Callable[[str, str], None]
"""Function that records a problem, called with the problem and the violated contract rule."""

KNOWN_PORTS: Final = frozenset(
    (
        *INITIAL_PORTS,
        *(f"landmarks:{scheme}" for scheme in COUNTS),
        *(f"coefficients:{space}" for space in SPACES),
        "reference:landmarks",
        "reference:image",
        "face:edit",
    )
)
HEAVY: Final = ("torch", "tensorflow", "jax", "onnxruntime", "cv2", "mediapipe", "scipy", "skimage", "matplotlib")
"""Packages with a long import time, which must not be imported when stages are listed."""

_FAMILIES: Final = ("landmarks", "coefficients")
"""Port families in which plugins may define new landmark schemes and coefficient spaces."""
_MAX_SUMMARY: Final = 200
_PORTS: Final = "docs/contracts.md lists the ports. A plugin may define additional schemes and spaces."
_LIGHT: Final = (
    "A module that defines specs must be fast to import. Move heavy imports to the module in StageSpec.build."
)


_WITHOUT_NETWORK: Final = (DigitalSourceType.ALGORITHMICALLY_ENHANCED, DigitalSourceType.COMPOSITE_SYNTHETIC)
_STRING: Final = "a string"
_SET: Final = "a frozenset of strings"
_TUPLE: Final = "a tuple of strings"
_INTEGER: Final = "an integer"
_MEASURES: Final = "a tuple of Measure objects"
_CONFIG: Final = "a subclass of StageConfig"
_BUILD: Final = "`package.module:Class` or a callable"
_TYPES: Final = {
    **dict.fromkeys(("kind", "name", "summary", "licence", "install", "source"), _STRING),
    **dict.fromkeys(("needs", "gives", "uses"), _SET),
    **dict.fromkeys(("requires", "checkpoints", "optional_checkpoints"), _TUPLE),
    "measures": _MEASURES,
    "config": _CONFIG,
    "build": _BUILD,
    "api": _INTEGER,
}
"""Mapping from spec field to a description of the expected type."""


def check_field_types(spec: StageSpec | MetricSpec, note: Note) -> None:
    """Record spec fields of the wrong type. A spec with such a field cannot be used."""
    owner = type(spec).__name__
    for name, expected in _TYPES.items():
        value: object = getattr(spec, name, None)
        if hasattr(spec, name) and not _has_type(expected, value):
            note(f"{name} is {repr(value)[:80]} ({type(value).__name__})", f"{owner}.{name} must be {expected}.")


def _has_type(expected: str, value: object) -> bool:
    if expected == _STRING:
        return isinstance(value, str)
    if expected in (_SET, _TUPLE):
        holder = (frozenset, set) if expected == _SET else (tuple, list)
        return isinstance(value, holder) and all(isinstance(each, str) for each in cast("Iterable[object]", value))
    if expected == _MEASURES:
        return isinstance(value, tuple) and all(isinstance(each, Measure) for each in cast("Iterable[object]", value))
    if expected == _CONFIG:
        return isinstance(value, type) and issubclass(value, StageConfig)
    return isinstance(value, int) if expected == _INTEGER else isinstance(value, str) or callable(value)


def check_spec(found: FoundStage, note: Note) -> None:
    """Record problems in a stage's spec."""
    spec = found.spec
    check_texts(spec.name, spec.summary, spec.licence, spec.version, note)
    if spec.kind not in set(StageKind):
        note(f"kind is {spec.kind!r}", "StageSpec.kind must be a member of retalkit.stages.StageKind.")
        return
    if (reason := incompatible_api(found.spec.kind, found.spec.api)) is not None:
        note(f"api: {reason}", "A stage for an incompatible contract version is listed, but cannot run.")
    start = MUST_GIVE.get(spec.kind, "")
    if start and not any(port.startswith(start) for port in spec.gives):
        note(
            f"StageSpec.gives contains no port {start}{'NAME' if start.endswith(':') else ''}",
            f"Every {spec.kind.value} must provide this port.",
        )
    check_ports((*spec.needs, *spec.gives), KNOWN_PORTS, note)
    _check_source_type(spec, note)
    _check_options(spec.config, note)
    check_build(spec.build, note)
    if heavy := heavy_imports(found.package, found.entry_point):
        note(f"listing the stage imports {', '.join(heavy)}", _LIGHT)


def _check_source_type(spec: StageSpec, note: Note) -> None:
    declared = cast("object", spec.digital_source_type)
    if declared is not None and not isinstance(declared, DigitalSourceType):
        note(
            f"digital_source_type is {declared!r}",
            "StageSpec.digital_source_type must be a member of retalkit.stages.DigitalSourceType.",
        )
    elif spec.checkpoints and declared in _WITHOUT_NETWORK:
        note(
            f"digital_source_type is {declared}, but the stage loads the network {spec.checkpoints[0]}",
            "A stage that generates pixels with a network must declare COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA.",
        )


def check_texts(name: str, summary: str, licence: str, version: object, note: Note) -> None:
    """Record problems in the name, summary, licence and version of a stage or metric."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", str(name)):
        note(f"the name is {name!r}", "A name must consist of lower-case letters, digits and underscores.")
    if not summary.strip() or "\n" in summary or len(summary) > _MAX_SUMMARY:
        note(
            f"the summary is {'empty' if not summary.strip() else 'longer than one line'}",
            f"The summary is shown by `retalkit plugins` and must be one line of at most {_MAX_SUMMARY} characters.",
        )
    if not licence.strip():
        note("the licence is empty", "The licence must be an SPDX expression that covers both code and weights.")
    if not isinstance(version, str) or not version.strip():
        note(f"the version is {version!r}", "The version must be a string. Increase the version if results change.")


def check_ports(ports: Iterable[str], known: Iterable[str], note: Note) -> None:
    """Record port names that are probably misspelled."""
    names = list(known)
    for port in sorted(ports):
        close = difflib.get_close_matches(port, names, n=1, cutoff=0.85)
        if port not in names and close and port.partition(":")[0] not in _FAMILIES:
            note(f"unknown port '{port}' (did you mean '{close[0]}'?)", _PORTS)


def check_build(build: object, note: Note) -> None:
    """Record a problem if ``build`` is neither a valid import path nor a callable."""
    if isinstance(build, str) and not re.fullmatch(r"[\w.]+:\w+", build):
        note(f"build is {build!r}", f"StageSpec.build must be {_BUILD}.")


def _check_options(config: type[StageConfig], note: Note) -> None:
    described = option_descriptions(config)
    for name, field in config.model_fields.items():
        if not field.description and not described.get(name):
            note(
                f"the option '{name}' has no description",
                "Every option must have a docstring or a Field description, which is part of the run file's schema.",
            )


@lru_cache(maxsize=64)
def heavy_imports(package: str, entry_point: str) -> tuple[str, ...]:
    """Return the packages in ``HEAVY`` that a new interpreter loads when it imports a plugin module and calls its
    hooks.

    ``package`` is a distribution name or a plugin file's path, or an empty string if the package is unknown.
    ``entry_point`` is one of the distribution's entry points, or an empty string for all entry points.
    """
    if not package:
        return ()
    if package.endswith(".py") and Path(package).is_file():
        load = (
            f"from retalkit.plugins.discovery import discover; from pathlib import Path; discover([Path({package!r})])"
        )
        before = _loaded_packages("from retalkit.plugins.discovery import discover; discover()")
    else:
        load = (
            "from importlib.metadata import distribution\n"
            f"for point in distribution({package!r}).entry_points.select(group={GROUP!r}):\n"
            f"    if {entry_point!r} not in ('', point.name):\n"
            "        continue\n"
            "    module = point.load()\n"
            "    for hook in ('retalkit_stages', 'retalkit_metrics', 'retalkit_checkpoints', 'retalkit_drivers'):\n"
            "        list(getattr(module, hook, list)())"
        )
        before = frozenset[str]()
    loaded = _loaded_packages(load) - before
    return tuple(name for name in HEAVY if name in loaded)


def _loaded_packages(code: str) -> frozenset[str]:
    script = f"import sys\n{code}\nprint('LOADED', *sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("LOADED")]
    return frozenset(lines[-1].split()[1:]) if done.returncode == 0 and lines else frozenset()
