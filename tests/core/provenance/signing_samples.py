"""A short video with sound, and signing of it without a run."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from retalkit.plugins.specs import FinishedRun
from retalkit.provenance.options import SigningOptions
from retalkit.provenance.signing import ContentCredentials


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_clip(path: Path, frames: int = 24) -> Path:
    """Write a second of moving noise with a tone, 160 x 120 at 24 frames/s."""
    noise = np.random.default_rng(0).integers(0, 255, (120, 400, 3), np.uint8)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=24, options={"preset": "ultrafast", "crf": "30"})
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        audio = container.add_stream("aac", rate=16000, layout="mono")
        for index in range(frames):
            image = np.ascontiguousarray(noise[:, index * 5 : index * 5 + 160])
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode())
        tone = np.sin(np.arange(16000) * 0.2).astype(np.float32)[None]
        for start in range(0, 16000, 1024):
            frame = av.AudioFrame.from_ndarray(tone[:, start : start + 1024].copy(), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, start, Fraction(1, 16000)
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
    return path


def finished_run(output: Path, video: Path, speech: Path, **changes: Any) -> FinishedRun:
    """Return the data of a run that edited the second half of a one-second video."""
    record = {
        "output": output,
        "record": output.with_name("record.json"),
        "notes": [f"{video}: a note with a path"],
        "digital_source_type": "algorithmicallyEnhanced",
        "edits": [{"person": "largest", "ranges": [[0.5, 1.0]]}],
        "frames_edited": 12,
        "inputs": {
            "video": str(video),
            "video_sha256": sha256(video),
            "speech": str(speech),
            "speech_sha256": sha256(speech),
            "speech_2": str(video),
            "speech_2_sha256": sha256(video),
        },
        "configuration": {
            "lip_syncer": {
                "use": f"{video.parent}/mine.py:mine",
                "motion": str(video.parent / "private" / "motion.npz"),
            },
            "output": {"crf": 30, "preset": "ultrafast"},
            "label": None,
            **changes,
        },
        "versions": {"retalkit": "0.2", f"{video.parent}/mine.py": "sha256:0"},
        "weights": {"lip_syncer.driver.weights": "0" * 64},
        "seed": 7,
    }
    return FinishedRun(output=output, video=video, speech=speech, record=record)


def sign_clip(source: Path, output: Path, video: Path, speech: Path, **options: Any) -> Path:
    """Sign ``source`` as the output of a run that edited ``video``, and return the path of the signed file."""
    run = finished_run(output, video, speech)
    ContentCredentials(SigningOptions(**options)).finish(source, output, run)
    for suffix, path in run.sidecars.items():
        path.replace(output.with_suffix(suffix))
    return output


def certificate(
    folder: Path, *, days: float = 100, own: bool = False, authority: bool = False, purpose: bool = True
) -> tuple[Path, Path]:
    """Write a certificate chain and its key, and return both paths. ``own``: the certificate issued itself."""
    root_key, key = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP256R1())
    names = [x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, text)]) for text in ("Studio", "Authority")]
    now = datetime.now(UTC)
    chain: list[x509.Certificate] = []
    issuer_key = key if own else root_key
    for subject, issuer, public in ((names[0], names[0 if own else 1], key), (names[1], names[1], root_key)):
        is_root = public is root_key
        usage = dict.fromkeys(_USAGES, False) | {"key_cert_sign" if is_root else "digital_signature": True}
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=200))
            .not_valid_after(now + timedelta(days=1000 if is_root else days))
            .add_extension(x509.BasicConstraints(ca=is_root or authority, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        )
        if purpose and not is_root:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
            )
        chain.append(builder.sign(root_key if is_root else issuer_key, hashes.SHA256()))
    encoding = serialization.Encoding.PEM
    (folder / "chain.pem").write_bytes(b"".join(each.public_bytes(encoding) for each in chain[: 1 if own else 2]))
    plain = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(plain)
    (folder / "root.pem").write_bytes(chain[-1].public_bytes(encoding))
    return folder / "chain.pem", folder / "key.pem"


_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
