"""Fixtures of the tests of media files."""

from __future__ import annotations

import pytest
from retalkit.media.decoding import FrameDecoder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Indexes of the decoded frames in their order."""
    indexes: list[int] = []
    decode = FrameDecoder.frame

    def counted(self: FrameDecoder, position: int, *arguments: object) -> object:
        indexes.append(position)
        return decode(self, position, *arguments)

    monkeypatch.setattr(FrameDecoder, "frame", counted)
    return indexes
