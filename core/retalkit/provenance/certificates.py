"""X.509 certificates for Content Credentials: creation of a local chain, parsing, and checks of usability.

The requirements on certificates are those of the C2PA specification 2.2, section 14.5 (X.509 certificates).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from retalkit.errors import CredentialsError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, Name

DEFAULT_NAME: Final = "Retalkit user (self-issued)"
_LIFETIME: Final = timedelta(days=3650)
_CLOCK_SKEW: Final = timedelta(hours=1)
_PURPOSES: Final = {
    "1.3.6.1.5.5.7.3.4": "emailProtection",
    "1.3.6.1.5.5.7.3.36": "documentSigning",
    "1.3.6.1.4.1.62558.2.1": "c2pa-kp-claimSigning",
}
"""Extended key usages that validators accept for the signature of a manifest."""
_MIN_RSA_BITS: Final = 2048


def make_local_chain(name: str | None = None) -> tuple[str, str]:
    """Create a root certificate and a signer's certificate that the root issued, both with EC P-256 keys.

    The private key of the root is discarded, so nobody can issue further certificates in its name. Returns the chain,
    which starts with the signer's certificate, and the signer's private key (PKCS #8) as PEM.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    subject = name or DEFAULT_NAME
    root_name, leaf_name = _name("Retalkit local root", subject), _name(subject, subject)
    start = datetime.now(UTC) - _CLOCK_SKEW

    def builder(owner: Name, public_key: Any) -> x509.CertificateBuilder:
        identifier = x509.SubjectKeyIdentifier.from_public_key(public_key)
        return (
            x509.CertificateBuilder()
            .subject_name(owner)
            .issuer_name(root_name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + _LIFETIME)
            .add_extension(identifier, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        )

    root = (
        builder(root_name, root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        builder(leaf_name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    return pem_of_chain((leaf, root)), pem_of_key(key)


def read_chain(pem: str, origin: str) -> tuple[Certificate, ...]:
    """Return the certificates of a PEM text. ``origin`` is the file in error messages. Raises CredentialsError."""
    from cryptography import x509

    try:
        return tuple(x509.load_pem_x509_certificates(pem.encode()))
    except ValueError as error:
        raise CredentialsError(
            f"{origin}: the file contains no valid certificate in PEM format", code="unreadable-credentials"
        ) from error


def read_key(pem: str, origin: str) -> Any:
    """Return the private key of a PEM text. Raises CredentialsError. No message contains the key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(pem.encode(), password=None)
    except TypeError as error:
        raise CredentialsError(
            f"{origin}: the private key is encrypted; decrypt it with `openssl pkey -in KEY -out DECRYPTED`",
            code="encrypted-key",
        ) from error
    except (ValueError, UnsupportedAlgorithm):
        # The cause is suppressed because it may contain a part of the file.
        raise CredentialsError(
            f"{origin}: the file contains no valid private key in PEM format", code="unreadable-credentials"
        ) from None


def pem_of_chain(chain: Sequence[Certificate]) -> str:
    """Return certificates as PEM text that contains nothing else."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in chain)


def pem_of_key(key: Any) -> str:
    """Return a private key as unencrypted PEM text (PKCS #8)."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def same_key(private_key: Any, certificate: Certificate) -> bool:
    """Return whether a private key belongs to a certificate."""
    return private_key.public_key() == certificate.public_key()


def subject_name(certificate: Certificate, *, issuer: bool = False) -> str:
    """Return the organisation or else the common name of a certificate's subject or issuer."""
    from cryptography.x509.oid import NameOID

    name = certificate.issuer if issuer else certificate.subject
    for kind in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME):
        if found := name.get_attributes_for_oid(kind):
            return str(found[0].value)
    return name.rfc4514_string() or "unnamed"


def algorithm_of(certificate: Certificate) -> str:
    """Return the signature algorithm for a certificate's key in COSE notation, or an empty string if unsupported."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}.get(key.curve.name, "")
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    return "ps256" if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _MIN_RSA_BITS else ""


def check_chain(chain: Sequence[Certificate], origin: str, *, now: datetime) -> None:
    """Raise CredentialsError if the chain is expired, broken, or not usable for Content Credentials."""
    leaf = chain[0]
    for certificate in chain:
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if now > end:
            raise CredentialsError(
                f"{origin}: the certificate of '{subject_name(certificate)}' expired on {end:%Y-%m-%d}; import a new "
                "certificate with `retalkit credentials import`, or create a local one with `retalkit credentials init "
                "--force`",
                code="expired-certificate",
            )
        if now < start:
            raise CredentialsError(
                f"{origin}: the certificate of '{subject_name(certificate)}' is valid only from {start:%Y-%m-%d}; "
                "check the clock of this machine",
                code="expired-certificate",
            )
    if fault := _usage_fault(leaf):
        raise CredentialsError(
            f"{origin}: the certificate of '{subject_name(leaf)}' cannot sign Content Credentials because {fault}",
            code="unusable-certificate",
        )
    for certificate, issuer in zip(chain, chain[1:], strict=False):
        try:
            certificate.verify_directly_issued_by(issuer)
        except Exception as error:  # cryptography raises several unrelated classes
            raise CredentialsError(
                f"{origin}: '{subject_name(issuer)}' did not issue the certificate of '{subject_name(certificate)}'; "
                "the file must contain the signer's certificate first, then the issuers in order",
                code="broken-chain",
            ) from error


def _usage_fault(leaf: Certificate) -> str:
    from cryptography import x509

    def extension(kind: Any) -> Any:
        try:
            return leaf.extensions.get_extension_for_class(kind).value
        except x509.ExtensionNotFound:
            return None

    usage, purposes = extension(x509.KeyUsage), extension(x509.ExtendedKeyUsage)
    constraints = extension(x509.BasicConstraints)
    if leaf.subject == leaf.issuer:
        return "it is self-signed; the certificate needs an issuer"
    if constraints is not None and constraints.ca:
        return "it is a certificate authority"
    if usage is None or not usage.digital_signature:
        return "its key usage does not contain digitalSignature"
    if purposes is None or not {purpose.dotted_string for purpose in purposes} & set(_PURPOSES):
        return f"its extended key usage contains none of {', '.join(_PURPOSES.values())}"
    if not algorithm_of(leaf):
        return "its key is neither EC (P-256, P-384, P-521), Ed25519 nor RSA with at least 2048 bits"
    return ""


def _name(organisation: str, common: str) -> Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> Any:
    from cryptography.x509 import KeyUsage

    return KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
