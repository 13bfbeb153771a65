"""Verification of a file's Content Credentials. The verification never accesses the network."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, cast

from retalkit.errors import CredentialsError, InputError
from retalkit.paths import missing
from retalkit.provenance.formats import find_sidecar, media_type
from retalkit.provenance.keys import LOCAL, load_credentials
from retalkit.provenance.manifest import RECORD_LABEL
from retalkit.provenance.manifest_bytes import manifest_fault
from retalkit.provenance.sequences import HASH_LIST, MANIFEST, changed_files

_CONTENT_CHANGED: Final = ("mismatch", "missing", "malformed", "general.error", "multiple", "cbor")
"""Parts of the failure codes that a change of the file or of the manifest causes."""
_STORE_LABEL: Final = b"c2pa"
_UNTRUSTED: Final = "signingCredential.untrusted"


class State(StrEnum):
    """Result of a verification."""

    TRUSTED = "trusted"
    """The file is unchanged, and the signer's certificate was issued by a trusted authority."""
    VALID = "valid"
    """The file is unchanged since it was signed, but the signer is unknown."""
    TAMPERED = "tampered"
    """The file or its manifest was changed after it was signed."""
    INVALID = "invalid"
    """The certificate is expired or cannot sign Content Credentials, or the manifest violates the specification."""
    NONE = "none"
    """The file has no Content Credentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredient:
    """File from which the verified file was made."""

    title: str
    relationship: str
    """``parentOf`` for the edited video, or ``componentOf`` for the speech."""
    identifier: str
    """Identifier of the ingredient, which contains the SHA-256 hash of the file for outputs of Retalkit."""
    signer: str = ""
    """Signer of the ingredient's own credentials, or an empty string if it has none."""
    problems: tuple[str, ...] = ()
    """Failure codes of the ingredient's own credentials at the time when it was opened."""
    ingredients: tuple[Ingredient, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Result of verifying one file."""

    file: Path
    state: State
    sidecar: Path | None = None
    manifest: str = ""
    """Identifier of the active manifest."""
    signer: str = ""
    issuer_known: bool = False
    """Whether the certificate was issued by a trusted authority."""
    signed_at: str = ""
    """Time in the signature's time stamp, or an empty string if the signature has no time stamp."""
    generator: str = ""
    """Software that made the manifest."""
    actions: tuple[Mapping[str, Any], ...] = ()
    ingredients: tuple[Ingredient, ...] = ()
    run_record: Mapping[str, Any] | None = None
    problems: tuple[str, ...] = ()
    """Failure codes of the C2PA specification."""

    @property
    def ok(self) -> bool:
        """Whether the file is unchanged since it was signed."""
        return self.state in (State.TRUSTED, State.VALID)

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain data for JSON."""
        return {
            "file": str(self.file),
            "state": self.state.value,
            "sidecar": None if self.sidecar is None else str(self.sidecar),
            "manifest": self.manifest,
            "signer": self.signer,
            "issuer_known": self.issuer_known,
            "signed_at": self.signed_at,
            "generator": self.generator,
            "actions": [dict(action) for action in self.actions],
            "ingredients": [_ingredient_dict(each) for each in self.ingredients],
            "run_record": None if self.run_record is None else dict(self.run_record),
            "problems": list(self.problems),
        }


def verify(path: Path, *, trust: Sequence[Path] = ()) -> Verification:
    """Verify the Content Credentials of a file, including a sidecar file, or of a directory of images.

    ``trust`` are PEM files with certificates of trusted authorities. The root of the user's own local credentials is
    always trusted. Raises InputError if the file cannot be read, and CredentialsError if a trust file is invalid.
    """
    import c2pa

    if (path / HASH_LIST).is_file():
        found = verify(path / HASH_LIST, trust=trust)
        changed = changed_files(path) if found.ok else []
        state, problems = (
            (State.TAMPERED, tuple(f"changed file {name}" for name in changed)) if changed else (found.state, ())
        )
        return replace(found, file=path, state=state, problems=(*found.problems, *problems))
    if (path / MANIFEST).is_file():
        return Verification(file=path, state=State.TAMPERED, problems=(f"changed file {HASH_LIST}",))
    if not path.is_file():
        code = "path-is-directory" if path.is_dir() else "file-not-found"
        raise InputError(
            f"{path}: expected a media file; check the path" if path.exists() else missing(path), code=code
        )
    settings: dict[str, Any] = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True}}
    if anchors := _anchors(trust):
        settings["trust"] = {"user_anchors": anchors}
    try:
        context = c2pa.Context(c2pa.Settings.from_dict(settings))
        data, sidecar = _read(path, context)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", code="unreadable-file") from error
    except c2pa.C2paError as error:
        if find_sidecar(path) is None and not _contains_store(path):
            return Verification(file=path, state=State.NONE)
        # The manifest store or the file that contains it cannot be parsed.
        reason = " ".join(str(error).split())[:200]
        return Verification(file=path, state=State.TAMPERED, problems=(f"unreadable manifest: {reason}",))
    if data is None:
        return Verification(file=path, state=State.NONE)
    found = _verification(path, sidecar, data)
    if found.ok and found.run_record is not None and (fault := manifest_fault(path, sidecar, found.manifest)):
        return replace(found, state=State.TAMPERED, issuer_known=False, problems=(*found.problems, fault))
    title = str(cast("dict[str, Any]", data.get("manifests", {})).get(found.manifest, {}).get("title", path.name))
    if sidecar is not None and not found.ok and Path(title).suffix.lower() != path.suffix.lower():
        # The sidecar belongs to a file with the same name and another suffix.
        return Verification(file=path, state=State.NONE)
    return found


def _read(path: Path, context: Any) -> tuple[dict[str, Any] | None, Path | None]:
    """Return the report of c2pa-rs and the sidecar file that contains the manifest, if any."""
    import c2pa

    errors = cast("Any", c2pa.C2paError)
    kind = media_type(path)
    with path.open("rb") as stream:
        try:
            with c2pa.Reader(kind, stream, context=context) as reader:
                return json.loads(reader.json()), None
        except (errors.ManifestNotFound, errors.NotSupported):
            sidecar = find_sidecar(path)
        if sidecar is None:
            return None, None
        stream.seek(0)
        with c2pa.Reader(kind, stream, sidecar.read_bytes(), context=context) as reader:
            return json.loads(reader.json()), sidecar


def _contains_store(path: Path) -> bool:
    """Return whether a damaged file contains the label of a manifest store."""
    rest = b""
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            if _STORE_LABEL in rest + block:
                return True
            rest = block[-len(_STORE_LABEL) :]
    return False


def _anchors(trust: Sequence[Path]) -> str:
    from retalkit.provenance.certificates import read_chain

    texts: list[str] = []
    for file in trust:
        try:
            text = file.read_text(encoding="ascii")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a PEM file"
            raise CredentialsError(f"{file}: cannot be read ({reason})", code="unreadable-credentials") from error
        read_chain(text, str(file))
        texts.append(text)
    own = load_credentials()
    if own is not None and own.origin == LOCAL:
        from cryptography.hazmat.primitives.serialization import Encoding

        texts.append(own.chain[-1].public_bytes(Encoding.PEM).decode())
    return "\n".join(texts)


def _verification(path: Path, sidecar: Path | None, data: Mapping[str, Any]) -> Verification:
    active = str(data.get("active_manifest", ""))
    manifests = cast("dict[str, Any]", data.get("manifests", {}))
    manifest = cast("dict[str, Any]", manifests.get(active, {}))
    signature = cast("dict[str, Any]", manifest.get("signature_info") or {})
    problems = _problems(data)
    assertions = cast("list[dict[str, Any]]", manifest.get("assertions", []))
    generators = cast("list[dict[str, Any]]", manifest.get("claim_generator_info", []))
    generator = " ".join(str(generators[0].get(key, "")) for key in ("name", "version")) if generators else ""
    state = _state(str(data.get("validation_state", "")), problems)
    return Verification(
        file=path,
        state=state,
        sidecar=sidecar,
        manifest=active,
        signer=str(signature.get("issuer") or signature.get("common_name") or ""),
        issuer_known=state == State.TRUSTED,
        signed_at=str(signature.get("time") or ""),
        generator=generator.strip(),
        actions=tuple(_actions(assertions)),
        ingredients=_ingredients(manifest, manifests, frozenset({active})),
        run_record=next((each["data"] for each in assertions if each.get("label") == RECORD_LABEL), None),
        problems=tuple(code for code in problems if code != _UNTRUSTED),
    )


def _state(reported: str, problems: Sequence[str]) -> State:
    if reported in ("Trusted", "Valid") and not set(problems) - {_UNTRUSTED}:
        return State(reported.lower())
    changed = any(part in code for code in problems for part in _CONTENT_CHANGED)
    return State.TAMPERED if changed else State.INVALID


def _problems(data: Mapping[str, Any]) -> list[str]:
    results = cast("dict[str, Any]", data.get("validation_results") or {})
    statuses = [cast("dict[str, Any]", results.get("activeManifest") or {})]
    # Faults of the ingredients' manifests that were not present when the ingredients were added.
    deltas = cast("list[dict[str, Any]]", results.get("ingredientDeltas") or [])
    statuses += [cast("dict[str, Any]", delta.get("validationDeltas") or {}) for delta in deltas]
    return list(dict.fromkeys(str(failure["code"]) for status in statuses for failure in status.get("failure", [])))


def _actions(assertions: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [
        action
        for assertion in assertions
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in assertion["data"].get("actions", [])
    ]


def _ingredients(
    manifest: Mapping[str, Any], manifests: Mapping[str, Any], above: frozenset[str]
) -> tuple[Ingredient, ...]:
    found: list[Ingredient] = []
    for each in cast("list[dict[str, Any]]", manifest.get("ingredients", [])):
        label = str(each.get("active_manifest") or "")
        own = cast("dict[str, Any]", manifests.get(label, {}))
        signature = cast("dict[str, Any]", own.get("signature_info") or {})
        # A manifest store may be damaged so that it contains a cycle.
        nested = _ingredients(own, manifests, above | {label}) if label and label not in above else ()
        found.append(
            Ingredient(
                title=str(each.get("title", "")),
                relationship=str(each.get("relationship", "")),
                identifier=str(each.get("instance_id", "")),
                signer=str(signature.get("issuer") or ""),
                problems=tuple(code for code in _problems(each) if code != _UNTRUSTED),
                ingredients=nested,
            )
        )
    return tuple(found)


def _ingredient_dict(ingredient: Ingredient) -> dict[str, Any]:
    return {
        "title": ingredient.title,
        "relationship": ingredient.relationship,
        "identifier": ingredient.identifier,
        "signer": ingredient.signer,
        "problems": list(ingredient.problems),
        "ingredients": [_ingredient_dict(each) for each in ingredient.ingredients],
    }
