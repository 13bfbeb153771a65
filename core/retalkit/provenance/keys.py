"""Signing credentials: a certificate chain with its private key, kept in ``RETALKIT_HOME/credentials``.

The private key never leaves this module except as the argument of the signing library. It is neither part of a cache
key nor of the run record, and ``repr`` does not show it.
"""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from retalkit.errors import CredentialsError
from retalkit.provenance.certificates import (
    algorithm_of,
    check_chain,
    make_local_chain,
    pem_of_chain,
    pem_of_key,
    read_chain,
    read_key,
    same_key,
    subject_name,
)
from retalkit.weights.locks import exclusive_lock
from retalkit.weights.store import home

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

LOCAL: Final = "local"
"""Origin of credentials that Retalkit created. Other machines do not trust these credentials by default."""
IMPORTED: Final = "imported"
RUN_FILE: Final = "run file"
_LOCK_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """Certificate chain with its private key."""

    chain: tuple[Certificate, ...]
    """Certificates from the signer's certificate to the last known issuer."""
    chain_pem: str
    key_pem: str = field(repr=False)
    origin: str
    """``LOCAL``, ``IMPORTED`` or ``RUN_FILE``."""
    file: Path
    """File that contains the certificates."""
    time_stamp_authority: str | None = None

    @property
    def name(self) -> str:
        """Name of the signer in the certificate."""
        return subject_name(self.chain[0])

    @property
    def issuer(self) -> str:
        """Name of the issuer of the signer's certificate."""
        return subject_name(self.chain[0], issuer=True)

    @property
    def fingerprint(self) -> str:
        """SHA-256 hash of the signer's certificate in hexadecimal digits."""
        from cryptography.hazmat.primitives.hashes import SHA256

        return self.chain[0].fingerprint(SHA256()).hex()

    @property
    def valid_until(self) -> datetime:
        return self.chain[0].not_valid_after_utc

    @property
    def algorithm(self) -> str:
        """Signature algorithm in COSE notation, such as ``es256``."""
        return algorithm_of(self.chain[0])

    def check(self) -> None:
        """Raise CredentialsError if the certificate is expired or cannot be used for Content Credentials."""
        check_chain(self.chain, str(self.file), now=datetime.now(UTC))


def credentials_file() -> Path:
    """Return the path of the file that contains the user's credentials. The file may not exist."""
    return home() / "credentials" / "signer.json"


def load_credentials() -> Credentials | None:
    """Return the user's credentials, or None if there are none.

    Raises CredentialsError if the file cannot be read. The certificate's validity is not checked.
    """
    file = credentials_file()
    try:
        data: Any = json.loads(file.read_text(encoding="utf-8"))
        chain_pem, key_pem = str(data["certificates"]), str(data["key"])
        origin, authority = str(data["origin"]), data.get("time_stamp_authority")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise CredentialsError(
            f"{file}: the credentials cannot be read ({reason}); make the file readable, or replace it with "
            "`retalkit credentials init --force`",
            code="unreadable-credentials",
        ) from error
    return _credentials(chain_pem, key_pem, origin, file, file, authority)


def load_or_create() -> tuple[Credentials, bool]:
    """Return the user's credentials and whether this call created them.

    Raises CredentialsError if the credentials cannot be read, and FolderError if they cannot be written.
    """
    stored = load_credentials()
    if stored is not None:
        return stored, False
    with _lock():
        # Another process may have created the credentials in the meantime.
        stored = load_credentials()
        if stored is not None:
            return stored, False
        chain_pem, key_pem = make_local_chain()
        return _store(chain_pem, key_pem, LOCAL, None), True


def create_local(name: str | None = None, *, force: bool = False) -> Credentials:
    """Create and store a local root certificate and a certificate that it issued.

    ``name`` is the name of the signer in the certificate. Raises CredentialsError if credentials exist and ``force`` is
    False, and FolderError if the credentials cannot be written.
    """
    with _lock():
        _check_absent(force)
        chain_pem, key_pem = make_local_chain(name)
        return _store(chain_pem, key_pem, LOCAL, None)


def import_credentials(
    certificate: Path, key: Path, *, time_stamp_authority: str | None = None, force: bool = False
) -> Credentials:
    """Check and store a certificate chain (PEM) with its private key (PEM).

    Raises CredentialsError if the files are invalid, if the key does not belong to the certificate, if the certificate
    cannot be used for Content Credentials, or if credentials exist and ``force`` is False.
    """
    read = read_credentials(certificate, key)
    read.check()
    with _lock():
        _check_absent(force)
        return _store(read.chain_pem, read.key_pem, IMPORTED, time_stamp_authority)


def read_credentials(certificate: Path, key: Path, time_stamp_authority: str | None = None) -> Credentials:
    """Return the credentials of a certificate file and a key file. Raises CredentialsError."""
    return _credentials(_read(certificate), _read(key), RUN_FILE, certificate, key, time_stamp_authority)


def _credentials(
    chain_pem: str, key_pem: str, origin: str, certificate: Path, key: Path, authority: str | None
) -> Credentials:
    chain, private_key = read_chain(chain_pem, str(certificate)), read_key(key_pem, str(key))
    if not same_key(private_key, chain[0]):
        raise CredentialsError(
            f"{key}: the private key does not belong to the first certificate in {certificate}; pass the matching key",
            code="wrong-key",
        )
    # The files may contain more than the certificates and the key in PKCS #8. c2pa-rs copies everything in the chain to
    # the manifest, even a private key, and accepts no other format of the key.
    return Credentials(chain, pem_of_chain(chain), pem_of_key(private_key), origin, certificate, authority)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a PEM file"
        raise CredentialsError(f"{path}: the file cannot be read ({reason})", code="unreadable-credentials") from error


def _check_absent(force: bool) -> None:
    file = credentials_file()
    if file.exists() and not force:
        raise CredentialsError(
            f"{file}: credentials already exist; use --force to replace them", code="credentials-exist"
        )


def _lock() -> Any:
    file = credentials_file()
    return exclusive_lock(file.parent, "signer", f"{file}: another process is writing the credentials", _LOCK_SECONDS)


def _store(chain_pem: str, key_pem: str, origin: str, authority: str | None) -> Credentials:
    """Write the credentials atomically, readable only by the user."""
    file = credentials_file()
    data = {"origin": origin, "certificates": chain_pem, "key": key_pem, "time_stamp_authority": authority}
    temporary = file.with_name(f".{file.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        file.parent.chmod(0o700)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as out:
            json.dump(data, out, indent=2)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
    except OSError as error:
        raise CredentialsError(
            f"{file}: the credentials cannot be written ({error.strerror}); set RETALKIT_HOME to a different directory",
            code="unwritable-credentials",
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return _credentials(chain_pem, key_pem, origin, file, file, authority)
