"""URLs of the published files of VideoReTalking."""

from __future__ import annotations

from typing import Final

_RELEASES: Final = (
    "https://github.com/vinthony/video-retalking/releases/download/v0.0.1/",
    "https://github.com/OpenTalker/video-retalking/releases/download/v0.0.1/",
)


def released(file: str) -> tuple[str, ...]:
    """Return the URLs of a file of the release, the older name of its repository first."""
    return tuple(f"{address}{file}" for address in _RELEASES)
