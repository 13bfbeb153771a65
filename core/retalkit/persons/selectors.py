"""Selection of a person in the video by position, index, reference image or id."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from retalkit.paths import expand_home

SelectorKind = Literal["largest", "left", "centre", "right", "index", "image", "person", "track"]

WORDS: Final[dict[str, SelectorKind]] = {
    "largest": "largest",
    "left": "left",
    "centre": "centre",
    "center": "centre",
    "middle": "centre",
    "right": "right",
}
POSITIONS: Final[frozenset[SelectorKind]] = frozenset({"left", "centre", "right", "index"})
"""Selectors that depend on where the persons are in a frame."""
IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
USAGE: Final = (
    "use largest, left, centre, right, a number from 0 at the left, an image of the person, or an id such as p1"
)

_PERSON = re.compile(r"p([1-9][0-9]*)")
_TRACK = re.compile(r"track:([0-9]+)")


@dataclass(frozen=True, slots=True)
class PersonSelector:
    """Rule that selects one person of a video.

    Positions and indexes apply to the first frame of the person's cues in which enough persons are visible.
    """

    kind: SelectorKind
    number: int = 0
    """Index from 0 at the left, person number from 1, or track number from 0."""
    image: Path | None = None
    """Reference image of the person, for the kind ``image``."""

    def __str__(self) -> str:
        if self.kind == "image":
            return str(self.image)
        names = {"index": str(self.number), "person": f"p{self.number}", "track": f"track:{self.number}"}
        return names.get(self.kind, self.kind)


LARGEST: Final = PersonSelector("largest")


def parse_selector(text: str, folder: Path = Path()) -> PersonSelector:
    """Return the selector for ``left``, ``0``, ``anna.jpg``, ``p1`` or ``track:3``.

    A relative image path is resolved against ``folder``. Raises ValueError with the reason if the text is not a
    selector. The image need not exist.
    """
    text = text.strip()
    word = text.lower()
    if word in WORDS:
        return PersonSelector(WORDS[word])
    if re.fullmatch(r"[+-]?[0-9]+", text):
        if int(text) < 0:
            raise ValueError(f"the index {text} is negative; indexes count from 0 at the left")
        return PersonSelector("index", int(text))
    if found := _PERSON.fullmatch(word):
        return PersonSelector("person", int(found[1]))
    if found := _TRACK.fullmatch(word):
        return PersonSelector("track", int(found[1]))
    if Path(text).suffix.lower() in IMAGE_SUFFIXES:
        return PersonSelector("image", image=folder / expand_home(text))
    raise ValueError(f"'{text}' does not select a person; {USAGE}")
