"""Download URLs of VideoReTalking's published files."""

from __future__ import annotations

from typing import Final

_RELEASES: Final = (
    "https://github.com/vinthony/video-retalking/releases/download/v0.0.1/",
    "https://github.com/OpenTalker/video-retalking/releases/download/v0.0.1/",
)


def released(file: str) -> tuple[str, ...]:
    """Return the URLs of a release file. The URL with the repository's former name is first."""
    return tuple(f"{address}{file}" for address in _RELEASES)
