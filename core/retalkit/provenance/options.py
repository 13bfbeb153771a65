"""Options of the finishers ``content_credentials`` and ``label``, and of the run file's key ``provenance``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from retalkit.plugins.specs import StageConfig


class SigningOptions(StageConfig):
    """Options of the finisher ``content_credentials``."""

    certificate: Annotated[
        Path | None,
        Field(
            description="Certificate chain (PEM) that replaces the credentials in RETALKIT_HOME; requires key.",
        ),
    ] = None
    key: Annotated[Path | None, Field(description="Private key (PEM) of the certificate.")] = None
    time_stamp_authority: Annotated[
        str | None,
        Field(
            pattern=r"^https?://[^\s]+$",
            description="URL of an RFC 3161 time-stamp authority, which every signature contacts; null for none.",
        ),
    ] = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key must be given together")
        return self


class ProvenanceOptions(SigningOptions):
    """Content Credentials of the output."""

    sign: Annotated[
        bool, Field(description="Sign the output with Content Credentials; the run record notes unsigned outputs.")
    ] = True

    def signing(self) -> SigningOptions:
        """Return the options of the finisher."""
        return SigningOptions(**self.model_dump(exclude={"sign"}))
