"""Options of the finishers ``content_credentials`` and ``label``, and of the run file's key ``provenance``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from retalkit.plugins.specs import StageConfig


class LabelOptions(StageConfig):
    """Options of the finisher ``label``. At least one of ``text`` and ``icon`` is required."""

    text: Annotated[str, Field(max_length=200, description="Text of the label, in one line.")] = ""
    icon: Annotated[Path | None, Field(description="Image with transparency (such as PNG) before the text.")] = None
    position: Annotated[
        Literal["top-left", "top", "top-right", "bottom-left", "bottom", "bottom-right"],
        Field(description="Position in the image."),
    ] = "top-left"
    size: Annotated[
        float, Field(ge=0.02, le=0.3, description="Height of the label as a fraction of the shorter side of the image.")
    ] = 0.06
    duration: Annotated[
        float | None,
        Field(
            gt=0, description="Time in seconds for which the label is shown from the start; null for all of the video."
        ),
    ] = None
    font: Annotated[Path | None, Field(description="TrueType or OpenType font; null selects DejaVu Sans.")] = None

    @field_validator("text")
    @classmethod
    def _one_line(cls, value: str) -> str:
        if any(not character.isprintable() for character in value):
            raise ValueError("must be one line of printable characters")
        return value.strip()

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"text": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.text and self.icon is None:
            raise ValueError("a label needs a text or an icon")
        return self

    def check_files(self) -> None:
        """Raise ConfigError if the icon or the font is invalid, or if the font lacks a character of the text."""
        from retalkit.provenance.label_files import check_label

        check_label(self.text, self.icon, self.font)


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
