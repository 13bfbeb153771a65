"""Signed files verify, any change is detected, and a signature that fails leaves nothing behind."""

from __future__ import annotations

import errno
import shutil
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from retalkit.errors import CredentialsError
from retalkit.provenance.keys import create_local, import_credentials
from retalkit.provenance.manifest_bytes import read_manifest_store
from retalkit.provenance.options import SigningOptions
from retalkit.provenance.run_facts import public_record
from retalkit.provenance.signing import ContentCredentials
from retalkit.provenance.verification import State, Verification, verify

from tests.core.provenance.signing_samples import certificate, finished_run, sha256, sign_clip
from tests.packets import packets


def test_manifest_describes_the_edit(signed: Path, clip: Path, short_speech: Path) -> None:
    found = verify(signed)
    assert (found.state, found.problems) == (State.TRUSTED, ())
    original, speech, second = found.ingredients
    assert (original.title, original.relationship, original.identifier) == (
        "clip.mp4",
        "parentOf",
        f"urn:sha256:{sha256(clip)}",
    )
    assert (speech.relationship, speech.identifier) == ("componentOf", f"urn:sha256:{sha256(short_speech)}")
    assert (second.title, second.relationship) == ("clip.mp4", "componentOf")
    opened, placed, edited = found.actions
    assert len(placed["parameters"]["ingredients"]) == 2
    assert opened["action"] == "c2pa.opened"
    assert edited["action"] == "c2pa.edited"
    assert edited["digitalSourceType"].endswith("/algorithmicallyEnhanced")
    assert edited["softwareAgent"]["name"] == "Retalkit"
    (change,) = edited["changes"]
    assert "largest" in change["description"]
    assert change["region"][0]["time"] == {"type": "npt", "start": "0.500", "end": "1.000"}
    assert found.run_record is not None
    assert (found.run_record["seed"], found.run_record["weights"]) == (7, {"lip_syncer.driver.weights": "0" * 64})
    assert packets(signed) == packets(clip)


def test_no_private_path_is_published(signed: Path, clip: Path) -> None:
    content = signed.read_bytes()
    for part in (str(clip.parent), str(signed.parent), "/private"):
        assert part.encode() not in content
    record = finished_run(
        signed, clip, clip, provenance={"time_stamp_authority": "https://me:word@host/tsa?k=1"}
    ).record
    facts = public_record(record)
    assert facts["configuration"]["lip_syncer"] == {"use": "mine.py:mine", "motion": "motion.npz"}
    assert facts["configuration"]["provenance"]["time_stamp_authority"] == "https://host/tsa"
    assert "mine.py" in facts["versions"]


def test_xmp_contains_the_iptc_fields(signed: Path) -> None:
    content = signed.read_bytes()
    packet = content[content.index(b"<?xpacket begin") :].decode()
    assert (
        'Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicallyEnhanced"'
        in packet
    )
    assert 'Iptc4xmpExt:AISystemUsed="Retalkit (lip syncer mine.py:mine)"' in packet


def test_every_changed_byte_is_detected(signed: Path, tmp_path: Path) -> None:
    content, generator = signed.read_bytes(), np.random.default_rng(0)
    with av.open(str(signed)) as container:
        places = [(p.stream.type, p.pos + int(generator.integers(p.size))) for p in container.demux() if p.size]
    with signed.open("rb") as file:
        store, before = read_manifest_store(file)
    start = content.index(store)
    # The padding is at the end of the store, and the type of its first box near the beginning.
    manifest = [start - len(before) + 1, start + 12, start + 40, start + len(store) - 5]
    manifest += (start + generator.integers(0, len(store), 12)).tolist()
    chosen = [generator.choice([place for kind, place in places if kind == wanted], 8) for wanted in ("video", "audio")]
    changed = tmp_path / "changed.mp4"
    for place in [*np.concatenate(chosen).tolist(), *manifest, len(content) - 60]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(generator.integers(8))
        changed.write_bytes(flipped)
        assert verify(changed).state == State.TAMPERED, place


def test_state_depends_on_the_trusted_authorities(clip: Path, short_speech: Path, home: Path, tmp_path: Path) -> None:
    chain, key = certificate(tmp_path)
    signed = sign_clip(clip, tmp_path / "out.mp4", clip, short_speech, certificate=chain, key=key)
    assert (verify(signed).state, verify(signed).signer) == (State.VALID, "Studio")
    assert verify(signed, trust=[tmp_path / "root.pem"]).state == State.TRUSTED
    create_local()
    assert verify(signed).state == State.VALID
    assert verify(clip).state == State.NONE


def test_expired_certificate_neither_signs_nor_verifies(
    clip: Path, short_speech: Path, home: Path, tmp_path: Path
) -> None:
    chain, key = certificate(tmp_path, days=2 / 86400)
    signed = sign_clip(clip, tmp_path / "out.mp4", clip, short_speech, certificate=chain, key=key)
    assert verify(signed).state == State.VALID
    expired = time.monotonic() + 6
    while verify(signed).state == State.VALID and time.monotonic() < expired:
        time.sleep(0.2)
    assert verify(signed).state == State.INVALID
    with pytest.raises(CredentialsError) as error:
        sign_clip(clip, tmp_path / "again.mp4", clip, short_speech, certificate=chain, key=key)
    assert error.value.code == "expired-certificate"
    assert not (tmp_path / "again.mp4").exists()


def test_file_with_certificates_and_key_does_not_publish_the_key(
    clip: Path, short_speech: Path, home: Path, tmp_path: Path
) -> None:
    chain, key = certificate(tmp_path)
    private: Any = serialization.load_pem_private_key(key.read_bytes(), None)
    secret = private.private_numbers().private_value.to_bytes(32, "big")
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    for style in (serialization.PrivateFormat.TraditionalOpenSSL, serialization.PrivateFormat.PKCS8):
        combined = tmp_path / "combined.pem"
        combined.write_bytes(chain.read_bytes() + private.private_bytes(encoding, style, plain))
        imported = import_credentials(combined, combined, force=True)
        assert "PRIVATE" not in imported.chain_pem
        signed = sign_clip(clip, tmp_path / "out.mp4", clip, short_speech, certificate=combined, key=combined)
        assert verify(signed).state == State.VALID
        assert secret not in signed.read_bytes()


def chain_of(found: Verification | Any) -> list[str]:
    """Return the titles of the originals, from the file's own to the first."""
    parents = [each for each in found.ingredients if each.relationship == "parentOf"]
    return [parents[0].title, *chain_of(parents[0])] if parents else []


def test_redubbing_keeps_the_chain(signed: Path, clip: Path, short_speech: Path, tmp_path: Path) -> None:
    remuxed = tmp_path / "plain.mkv"
    with av.open(str(clip)) as given, av.open(str(remuxed), "w") as written:
        stream = written.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.size:
                packet.stream = stream
                written.mux(packet)
    second = sign_clip(remuxed, tmp_path / "second.mkv", signed, short_speech)
    assert second.read_bytes() == remuxed.read_bytes()
    found = verify(second)
    assert (found.state, found.sidecar) == (State.TRUSTED, tmp_path / "second.c2pa")
    assert chain_of(found) == ["signed.mp4", "clip.mp4"]
    third = sign_clip(clip, tmp_path / "third.mp4", second, short_speech)
    assert (verify(third).state, chain_of(verify(third))) == (State.TRUSTED, ["second.mkv", "signed.mp4", "clip.mp4"])
    sidecar = tmp_path / "second.c2pa"
    store = sidecar.read_bytes()
    # The original's manifest contains the title of the original.
    sidecar.write_bytes(store.replace(b"clip.mp4", b"none.mp4"))
    assert verify(second).state == State.TAMPERED and verify(second).problems
    sidecar.write_bytes(store)
    second.write_bytes(second.read_bytes()[:-1] + b"\1")
    assert verify(second).state == State.TAMPERED
    # The manifest of a changed file is not adopted.
    fourth = sign_clip(clip, tmp_path / "fourth.mp4", second, short_speech)
    assert chain_of(verify(fourth)) == ["second.mkv"]
    shutil.copy(clip, tmp_path / "second.mp4")
    assert verify(tmp_path / "second.mp4").state == State.NONE


def test_input_that_only_ffmpeg_reads_is_identified_by_its_hash(clip: Path, short_speech: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(clip.read_bytes() + b"\0\0\0\2none")
    signed = sign_clip(clip, tmp_path / "out.mp4", damaged, short_speech)
    assert verify(signed).ingredients[0].identifier == f"urn:sha256:{sha256(damaged)}"


def test_layers_are_signed(clip: Path, short_speech: Path, tmp_path: Path) -> None:
    folder, movie = tmp_path / "layer", tmp_path / "layer.mov"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(bytes([number]) * 100)
    shutil.copy(clip, movie)
    for path in (folder, movie):
        ContentCredentials(SigningOptions()).sign_layer(path, finished_run(path, clip, short_speech))
        assert (verify(path).state, chain_of(verify(path))) == (State.TRUSTED, ["clip.mp4"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layer", "layer.mov"]
    (folder / "1.png").write_bytes(b"other")
    (folder / "3.png").touch()
    assert verify(folder).problems == ("changed file 1.png", "changed file 3.png")
    assert verify(folder).state == State.TAMPERED
    (folder / "SHA256SUMS").unlink()
    assert verify(folder).state == State.TAMPERED


def test_damaged_file_without_credentials_is_not_reported_as_changed(signed: Path, tmp_path: Path) -> None:
    for content, state in (
        (b"", State.NONE),
        (b"garbage" * 100, State.NONE),
        (b"x" + signed.read_bytes(), State.TAMPERED),
    ):
        (tmp_path / "file.mp4").write_bytes(content)
        assert verify(tmp_path / "file.mp4").state == state


def test_full_disk_is_reported_as_such(clip: Path, short_speech: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    output.symlink_to("/dev/full")
    with pytest.raises(OSError) as error:
        sign_clip(clip, output, clip, short_speech)
    assert error.value.errno == errno.ENOSPC


def test_unreachable_time_stamp_authority_is_named(clip: Path, short_speech: Path, tmp_path: Path) -> None:
    url = "http://me:password@127.0.0.1:9/tsa"
    with pytest.raises(CredentialsError, match="http://127.0.0.1:9/tsa") as error:
        sign_clip(clip, tmp_path / "out.mp4", clip, short_speech, time_stamp_authority=url)
    assert error.value.code == "signing-failed"
    assert "password" not in str(error.value)


def test_second_implementation_accepts_the_signature(
    signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = pytest.importorskip("encypher_c2pa")
    monkeypatch.setenv("HOME", str(tmp_path))
    report = second.verify(signed, telemetry=False)
    assert (report["integrity"], report["signature"], report["hard_binding"]) == ("valid", "valid", "match")
    failures = {failure["code"] for failure in report["validation_results"]["failure"]}
    assert failures <= {"signingCredential.untrusted"}
    changed = tmp_path / "changed.mp4"
    changed.write_bytes(signed.read_bytes()[:-60] + b"!" + signed.read_bytes()[-59:])
    assert second.verify(changed, telemetry=False)["hard_binding"] != "match"
