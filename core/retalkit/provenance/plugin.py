"""Specs of the bundled finishers."""

from __future__ import annotations

from typing import Final

from retalkit.plugins.hooks import hookimpl
from retalkit.plugins.specs import FinisherSpec
from retalkit.provenance.options import LabelOptions, SigningOptions

CONTENT_CREDENTIALS: Final = FinisherSpec(
    name="content_credentials",
    summary="Signs the output with Content Credentials (C2PA); applied last unless provenance.sign is false",
    build="retalkit.provenance.signing:ContentCredentials",
    config=SigningOptions,
    requires=("c2pa", "cryptography"),
    install="retalkit",
)

LABEL: Final = FinisherSpec(
    name="label",
    summary="Draws a visible label or icon on the video, such as 'AI dubbed'; `retalkit dub --label` applies it",
    build="retalkit.provenance.label:Label",
    config=LabelOptions,
)


@hookimpl
def retalkit_finishers() -> list[FinisherSpec]:
    """Return the specs of the bundled finishers."""
    return [CONTENT_CREDENTIALS, LABEL]
