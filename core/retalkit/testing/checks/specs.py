"""Checks of what a spec says, without running anything."""

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
from retalkit.stages import StageKind
from retalkit.testing.fixtures.upstream import SPACES

Note = Callable[[str, str], None]
"""Takes what is broken and what the contract says."""

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
"""Takes long to import and is not needed to list a stage."""

_FAMILIES: Final = ("landmarks", "coefficients")
"""Plugins name schemes and spaces of their own."""
_LONGEST: Final = 200
_PORTS: Final = "docs/contracts.md lists the ports; a plugin may add its own."
_LIGHT: Final = (
    "A module that lists stages is light; what is heavy is imported by the module that StageSpec.build names."
)


_TEXT: Final = "a text"
_SET: Final = "a frozenset of texts"
_TUPLE: Final = "a tuple of texts"
_NUMBER: Final = "a whole number"
_MEASURES: Final = "a tuple of Measure"
_CONFIG: Final = "a class made of StageConfig"
_BUILD: Final = "`package.module:Class` or something that can be called"
_TYPES: Final = {
    **dict.fromkeys(("kind", "name", "summary", "licence", "install", "source"), _TEXT),
    **dict.fromkeys(("needs", "gives", "uses"), _SET),
    **dict.fromkeys(("requires", "checkpoints", "optional_checkpoints"), _TUPLE),
    "measures": _MEASURES,
    "config": _CONFIG,
    "build": _BUILD,
    "api": _NUMBER,
}
"""Field of a spec -> what it is; the rest of the kit reads them all."""


def look_at_types(spec: StageSpec | MetricSpec, note: Note) -> None:
    """Notes what of a spec is of a wrong type, so that it cannot be read at all."""
    home = type(spec).__name__
    for name, wanted in _TYPES.items():
        value: object = getattr(spec, name, None)
        if hasattr(spec, name) and not _fits(wanted, value):
            note(f"{name} is {repr(value)[:80]} ({type(value).__name__})", f"{home}.{name} is {wanted}.")


def _fits(wanted: str, value: object) -> bool:
    if wanted == _TEXT:
        return isinstance(value, str)
    if wanted in (_SET, _TUPLE):
        holder = (frozenset, set) if wanted == _SET else (tuple, list)
        return isinstance(value, holder) and all(isinstance(each, str) for each in cast("Iterable[object]", value))
    if wanted == _MEASURES:
        return isinstance(value, tuple) and all(isinstance(each, Measure) for each in cast("Iterable[object]", value))
    if wanted == _CONFIG:
        return isinstance(value, type) and issubclass(value, StageConfig)
    return isinstance(value, int) if wanted == _NUMBER else isinstance(value, str) or callable(value)


def look_at_spec(found: FoundStage, note: Note) -> None:
    """Notes what is wrong with a spec."""
    spec = found.spec
    look_at_words(spec.name, spec.summary, spec.licence, spec.version, note)
    if spec.kind not in set(StageKind):
        note(f"kind is {spec.kind!r}", "StageSpec.kind is one of retalkit.stages.StageKind.")
        return
    if (reason := incompatible_api(found.spec.kind, found.spec.api)) is not None:
        note(f"api: {reason}", "A spec that was made for another version of the contracts is listed and not run.")
    start = MUST_GIVE.get(spec.kind, "")
    if start and not any(port.startswith(start) for port in spec.gives):
        note(f"gives no {start}{'NAME' if start.endswith(':') else ''}", f"Every {spec.kind.value} gives it.")
    look_at_ports((*spec.needs, *spec.gives), KNOWN_PORTS, note)
    _look_at_options(spec.config, note)
    look_at_build(spec.build, note)
    if heavy := heavy_imports(found.package, found.entry_point):
        note(f"listing the stage imports {', '.join(heavy)}", _LIGHT)


def look_at_words(name: str, summary: str, licence: str, version: object, note: Note) -> None:
    """Name, summary, licence and version, which stages and metrics have alike."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", str(name)):
        note(f"the name is {name!r}", "A name is made of lower-case letters, digits and underscores.")
    if not summary.strip() or "\n" in summary or len(summary) > _LONGEST:
        note(
            f"the summary is {'empty' if not summary.strip() else 'longer than one line'}",
            f"The summary is one line for `retalkit plugins`, at most {_LONGEST} characters.",
        )
    if not licence.strip():
        note("the licence is empty", "The licence is an SPDX expression of code and weights together.")
    if not isinstance(version, str) or not version.strip():
        note(f"the version is {version!r}", "The version is a text that is raised whenever a result changes.")


def look_at_ports(ports: Iterable[str], known: Iterable[str], note: Note) -> None:
    """Ports that look like misspelled ones."""
    names = list(known)
    for port in sorted(ports):
        close = difflib.get_close_matches(port, names, n=1, cutoff=0.85)
        if port not in names and close and port.partition(":")[0] not in _FAMILIES:
            note(f"names the port '{port}', which nothing gives: did you mean '{close[0]}'?", _PORTS)


def look_at_build(build: object, note: Note) -> None:
    """The place that makes it."""
    if isinstance(build, str) and not re.fullmatch(r"[\w.]+:\w+", build):
        note(f"build is {build!r}", f"StageSpec.build is {_BUILD}.")


def _look_at_options(config: type[StageConfig], note: Note) -> None:
    described = option_descriptions(config)
    for name, field in config.model_fields.items():
        if not field.description and not described.get(name):
            note(
                f"the option '{name}' has no description",
                "A string below each field of the options says what it does: it stands in the schema of run files.",
            )


@lru_cache(maxsize=64)
def heavy_imports(package: str, entry_point: str) -> tuple[str, ...]:
    """Which of ``HEAVY`` the plugin module imports and its hooks load, in a fresh interpreter; () where there is none.

    ``package`` is a distribution, or the path of a plugin file; empty: nothing is known of the module. ``entry_point``
    is one of the distribution's; empty: all of them.
    """
    if not package:
        return ()
    if package.endswith(".py") and Path(package).is_file():
        load = (
            f"from retalkit.plugins.discovery import discover; from pathlib import Path; discover([Path({package!r})])"
        )
        before = _loaded("from retalkit.plugins.discovery import discover; discover()")
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
    loaded = _loaded(load) - before
    return tuple(name for name in HEAVY if name in loaded)


def _loaded(code: str) -> frozenset[str]:
    script = f"import sys\n{code}\nprint('LOADED', *sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("LOADED")]
    return frozenset(lines[-1].split()[1:]) if done.returncode == 0 and lines else frozenset()
