"""Definition of an output's manifest: actions, run record and IPTC metadata (C2PA specification 2.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, cast

from retalkit._version import __version__
from retalkit.plugins.specs import FinishedRun
from retalkit.provenance.formats import media_type
from retalkit.provenance.run_facts import public_record, without_path
from retalkit.stages import DigitalSourceType

GENERATOR: Final = "Retalkit"
ORIGINAL: Final = "original"
"""Identifier of the source video among the manifest's ingredients."""
_VIDEO, _HASH = "video", "_sha256"
RECORD_LABEL: Final = "org.retalkit.run-record"
_MAX_RANGES: Final = 200
"""Maximum number of time ranges in the action. The run record contains all ranges."""


def manifest_definition(run: FinishedRun) -> dict[str, Any]:
    """Return the definition of the output's manifest without ingredients, in the notation of c2pa-rs."""
    source_type = DigitalSourceType(run.record["digital_source_type"])
    agent = {"name": GENERATOR, "version": __version__}
    components = [described["label"] for _, described in ingredients(run) if described["label"] != ORIGINAL]
    actions: list[dict[str, Any]] = [
        {"action": "c2pa.opened", "parameters": {"ingredientIds": [ORIGINAL]}},
        {"action": "c2pa.placed", "softwareAgent": agent, "parameters": {"ingredientIds": components}},
        {
            "action": "c2pa.edited",
            "digitalSourceType": source_type.uri,
            "softwareAgent": agent,
            "description": "The lips were edited to match other speech.",
            "changes": _changes(run.record.get("edits", [])),
        },
    ]
    if label := _label_text(run.record):
        text = f"The visible label '{label}' was added."
        actions.append({"action": "c2pa.addedText", "softwareAgent": agent, "description": text})
    return {
        "claim_generator_info": [agent],
        "title": run.output.name,
        "format": media_type(run.output),
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": actions, "allActionsIncluded": True}, "created": True},
            {"label": RECORD_LABEL, "data": public_record(run.record), "created": True},
            {"label": "c2pa.metadata", "data": _metadata(source_type), "created": True},
        ],
    }


def ingredients(run: FinishedRun) -> list[tuple[Path, dict[str, Any]]]:
    """Return the path and the definition of every input file, the original first.

    The record's ``inputs`` contains the path ``NAME`` and the SHA-256 hash ``NAME_sha256`` of each file.
    """
    inputs = cast("Mapping[str, str]", run.record["inputs"])
    names = [name.removesuffix(_HASH) for name in inputs if name.endswith(_HASH)]
    names.sort(key=lambda name: name != _VIDEO)
    return [(Path(inputs[name]), _ingredient(name, Path(inputs[name]), inputs[name + _HASH])) for name in names]


def _ingredient(name: str, path: Path, sha256: str) -> dict[str, Any]:
    return {
        "title": path.name,
        "format": media_type(path),
        "relationship": "parentOf" if name == _VIDEO else "componentOf",
        "label": ORIGINAL if name == _VIDEO else name,
        "instance_id": f"urn:sha256:{sha256}",
        "description": f"SHA-256 {sha256}",
    }


def system_description(record: Mapping[str, Any]) -> str:
    """Return the name of the system that edited the video, with the lip syncer."""
    configuration = cast("Mapping[str, Any]", record.get("configuration", {}))
    chosen = cast("Mapping[str, Any]", configuration.get("lip_syncer", {}))
    name = str(chosen.get("use", "")).replace("\\", "/").rpartition("/")[2]
    return f"{GENERATOR} (lip syncer {name})" if name else GENERATOR


def _label_text(record: Mapping[str, Any]) -> str:
    configuration = cast("Mapping[str, Any]", record.get("configuration", {}))
    label = cast("Mapping[str, Any]", configuration.get("label") or {})
    return str(label.get("text", ""))


def _changes(edits: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one change for each edited time range of each person."""
    changes: list[dict[str, Any]] = []
    for edit in edits:
        person = without_path(str(edit["person"]))
        for start, end in _limited([(float(start), float(end)) for start, end in edit["ranges"]]):
            time = {"type": "npt", "start": f"{start:.3f}", "end": f"{end:.3f}"}
            region = {"type": "temporal", "time": time}
            changes.append({"description": f"lips of the person '{person}'", "region": [region]})
    return changes


def _limited(ranges: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most ``_MAX_RANGES`` ranges that contain all ranges. Ranges with the smallest gaps are merged."""
    if len(ranges) <= _MAX_RANGES:
        return ranges
    gaps = sorted(following[0] - current[1] for current, following in zip(ranges, ranges[1:], strict=False))
    widest_merged = gaps[len(ranges) - _MAX_RANGES - 1]
    merged = [ranges[0]]
    for start, end in ranges[1:]:
        if start - merged[-1][1] <= widest_merged:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


def _metadata(source_type: DigitalSourceType) -> dict[str, Any]:
    return {
        "@context": {
            "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
            "xmp": "http://ns.adobe.com/xap/1.0/",
        },
        "Iptc4xmpExt:DigitalSourceType": source_type.uri,
        "xmp:CreatorTool": f"{GENERATOR} {__version__}",
    }
