"""Local credentials are created once and kept private, and unusable certificates are rejected before work."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from retalkit.errors import CredentialsError
from retalkit.provenance.keys import (
    create_local,
    credentials_file,
    import_credentials,
    load_credentials,
    load_or_create,
    read_credentials,
)
from retalkit.weights.locks import FolderError

from tests.core.provenance.signing_samples import certificate


def test_concurrent_first_uses_create_one_private_file(home: Path) -> None:
    with ThreadPoolExecutor(8) as executor:
        results = list(executor.map(lambda _: load_or_create(), range(8)))
    assert len({credentials.fingerprint for credentials, _ in results}) == 1
    assert sum(created for _, created in results) == 1
    assert stat.S_IMODE(credentials_file().stat().st_mode) == 0o600
    assert stat.S_IMODE(credentials_file().parent.stat().st_mode) == 0o700
    credentials = results[0][0]
    credentials.check()
    secret = credentials.key_pem.splitlines()[1]
    assert secret not in repr(credentials) and secret in credentials_file().read_text().replace("\\n", "\n")


def test_existing_credentials_are_replaced_only_on_request(home: Path) -> None:
    first = create_local("Studio A")
    with pytest.raises(CredentialsError) as error:
        create_local("Studio B")
    assert error.value.code == "credentials-exist"
    stored = load_credentials()
    assert stored is not None and (stored.name, stored.fingerprint) == ("Studio A", first.fingerprint)
    assert create_local("Studio B", force=True).name == "Studio B"


def test_imported_certificate_signs(home: Path, tmp_path: Path) -> None:
    chain, key = certificate(tmp_path)
    imported = import_credentials(chain, key, time_stamp_authority="https://tsa.example.org")
    loaded = load_credentials()
    assert loaded == imported
    assert (imported.name, imported.issuer, imported.algorithm) == ("Studio", "Authority", "es256")


@pytest.mark.parametrize(
    ("options", "code", "fact"),
    [
        ({"days": -1}, "expired-certificate", "expired on"),
        ({"own": True}, "unusable-certificate", "self-signed"),
        ({"authority": True}, "unusable-certificate", "certificate authority"),
        ({"purpose": False}, "unusable-certificate", "emailProtection"),
    ],
)
def test_unusable_certificate_is_rejected(
    home: Path, tmp_path: Path, options: dict[str, Any], code: str, fact: str
) -> None:
    chain, key = certificate(tmp_path, **options)
    with pytest.raises(CredentialsError, match=fact) as error:
        import_credentials(chain, key)
    assert error.value.code == code
    assert load_credentials() is None


def test_wrong_files_are_rejected(home: Path, tmp_path: Path) -> None:
    chain, key = certificate(tmp_path)
    other = ec.generate_private_key(ec.SECP256R1())
    encoding, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    wrong, encrypted, reversed_chain = (tmp_path / name for name in ("wrong.pem", "locked.pem", "reversed.pem"))
    wrong.write_bytes(other.private_bytes(encoding, pkcs8, serialization.NoEncryption()))
    encrypted.write_bytes(other.private_bytes(encoding, pkcs8, serialization.BestAvailableEncryption(b"word")))
    leaf, _, root = chain.read_text().partition("-----END CERTIFICATE-----\n")
    reversed_chain.write_text(root + leaf + "-----END CERTIFICATE-----\n")
    for certificates, private, code in (
        (chain, wrong, "wrong-key"),
        (chain, encrypted, "encrypted-key"),
        (chain, chain, "unreadable-credentials"),
        (key, key, "unreadable-credentials"),
        (tmp_path / "absent.pem", key, "unreadable-credentials"),
        (reversed_chain, key, "wrong-key"),
    ):
        with pytest.raises(CredentialsError) as error:
            read_credentials(certificates, private)
        assert error.value.code == code
        assert "PRIVATE" not in str(error.value)


def test_home_that_cannot_be_written_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocker = tmp_path / "file"
    blocker.touch()
    monkeypatch.setenv("RETALKIT_HOME", str(blocker / "home"))
    with pytest.raises(FolderError, match="RETALKIT_HOME"):
        load_or_create()
