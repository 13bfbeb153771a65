"""Readers for the directory layouts of common datasets.

``videos``: video files, or directories that contain video files. ``lrs2``: ``ROOT/VIDEO/CLIP.mp4``. ``wav2lip``:
directories with the face images ``0.jpg``, ``1.jpg``, ... and ``audio.wav``, as Wav2Lip's ``preprocess.py`` writes
them. ``voxceleb``: ``ID/VIDEO/CLIP.mp4``, or the names ``ID#VIDEO#FIRST#LAST.mp4`` of PIRenderer's crops. ``hdtf``: a
directory with ``*_video_url.txt`` and ``*_annotion_time.txt``, and the downloaded videos ``NAME.mp4``. ``photos``:
still images of faces, for D-Net only.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, get_args

from retalkit.errors import InputError
from retalkit.paths import missing

Layout = Literal["auto", "videos", "lrs2", "wav2lip", "voxceleb", "hdtf", "photos"]
LAYOUTS: Final[tuple[Layout, ...]] = get_args(Layout)

VIDEO_SUFFIXES: Final = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg"})
PHOTO_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
_VOX_NAME = re.compile(r"^(id\d+)#([^#]+)#")
_VOX_SPEAKER = re.compile(r"^id\d{5}$")
_HDTF_TIMES = "*_annotion_time.txt"
"""Name as spelled in the published dataset."""
_CLOCK = re.compile(r"^(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceVideo:
    """One video, or one directory of face images, from which clips are made."""

    path: Path
    speaker: str
    """Name of the speaker. All clips of a speaker are in one split."""
    video: str
    """Name of the recording. All clips of a recording are in one split."""
    kind: Literal["video", "faces", "photo"] = "video"
    """``faces``: a directory of face images with ``audio.wav``. ``photo``: a still image."""
    spans: tuple[tuple[float, float], ...] = ()
    """Start and end in seconds of the parts to use, or empty for the whole video."""


def find_sources(
    paths: Sequence[Path], layout: Layout = "auto", speakers: Mapping[str, str] | None = None
) -> list[SourceVideo]:
    """Return all source videos below ``paths``, sorted by path.

    ``speakers``: mapping from file name, stem or directory name to speaker, which overrides the layout's speakers.

    Raises:
        InputError: a path does not exist, or no source was found.
    """
    found: dict[Path, SourceVideo] = {}
    for path in paths:
        if not path.exists():
            raise InputError(missing(path, "no such file or directory"), code="file-not-found")
        for source in _sources(path, layout):
            found.setdefault(source.path.resolve(), source)
    if not found:
        listed = ", ".join(str(path) for path in paths)
        raise InputError(
            f"{listed}: no videos of the layout '{layout}' found; `--layout` selects another layout",
            code="no-videos",
        )
    chosen = [_relabelled(source, speakers or {}) for source in found.values()]
    return sorted(chosen, key=lambda source: str(source.path))


def unmatched_names(
    paths: Sequence[Path], sources: Sequence[SourceVideo], speakers: Mapping[str, str] | None = None
) -> list[str]:
    """Return the names in HDTF's lists, and the names in ``speakers``, to which no source belongs.

    ``paths``: arguments of ``find_sources``, which returned ``sources``. The videos of a list may not be downloaded.
    """
    absent: list[str] = []
    for path in paths:
        for listing in sorted(path.glob(_HDTF_TIMES)) if any(source.spans for source in sources) else []:
            found = {source.video for source in sources if source.path.is_relative_to(path)}
            names = [line.split()[0] for line in _text(listing).splitlines() if line.split()]
            absent += [name for name in names if Path(name).stem not in found]
    known = {name for source in sources for name in _names(source)}
    return [*dict.fromkeys([*absent, *(name for name in speakers or {} if name not in known)])]


def read_speakers(path: Path) -> dict[str, str]:
    """Read a CSV file with the columns ``name`` and ``speaker``. Raises InputError."""
    if not path.is_file():
        raise InputError(missing(path, "no such file"), code="file-not-found")
    try:
        rows = list(csv.DictReader(io.StringIO(_text(path), newline="")))
    except csv.Error as error:
        raise InputError(f"{path}: invalid CSV file ({error})", code="unreadable-file") from error
    if not rows or not {"name", "speaker"} <= set(rows[0]):
        raise InputError(f"{path}: expected a CSV file with the columns name and speaker", code="unreadable-file")
    for number, row in enumerate(rows, 2):
        if not row["name"] or not row["speaker"]:
            raise InputError(f"{path}:{number}: expected a name and a speaker", code="unreadable-file")
    return {row["name"]: row["speaker"] for row in rows}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a UTF-8 text file", code="unreadable-file") from error


def _names(source: SourceVideo) -> tuple[str, str, str]:
    return source.path.name, source.path.stem, source.path.parent.name


def _relabelled(source: SourceVideo, speakers: Mapping[str, str]) -> SourceVideo:
    names = _names(source)
    speaker = next((speakers[name] for name in names if name in speakers), source.speaker)
    return replace(source, speaker=speaker)


def _sources(path: Path, layout: Layout) -> Iterator[SourceVideo]:
    if path.is_file() and path.suffix.lower() in PHOTO_SUFFIXES:
        yield from _photos(path)
        return
    if path.is_file():
        yield from _READERS["voxceleb" if _VOX_NAME.match(path.name) else "videos"](path)
        return
    yield from _READERS[_detect_layout(path) if layout == "auto" else layout](path)


def _detect_layout(root: Path) -> Layout:
    if next(root.glob(_HDTF_TIMES), None) is not None:
        return "hdtf"
    if next(root.rglob("audio.wav"), None) is not None and next(root.rglob("*.jpg"), None) is not None:
        return "wav2lip"
    videos = list(_videos(root))
    if not videos and next(_photos(root), None) is not None:
        return "photos"
    if any(_VOX_NAME.match(video.name) for video in videos) or any(
        _VOX_SPEAKER.match(part) for video in videos for part in video.relative_to(root).parts[:-1]
    ):
        return "voxceleb"
    # LRS2 has one directory per recording, with clips that have numbers as names.
    if videos and all(video.parent != root and video.stem.isdigit() for video in videos):
        return "lrs2"
    return "videos"


def _videos(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    yield from sorted(path for path in root.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())


def _plain(root: Path) -> Iterator[SourceVideo]:
    for path in _videos(root):
        # A subdirectory usually contains the videos of one person.
        inside = path != root and path.parent != root
        yield SourceVideo(path=path, speaker=path.parent.name if inside else path.stem, video=path.stem)


def _photos(root: Path) -> Iterator[SourceVideo]:
    """Yield the still images. Each image counts as another speaker, unless it is in a subdirectory."""
    paths = [root] if root.is_file() else sorted(root.rglob("*"))
    for path in paths:
        if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file():
            inside = path not in (root, root / path.name)
            yield SourceVideo(
                path=path, speaker=path.parent.name if inside else path.stem, video=path.stem, kind="photo"
            )


def _lrs2(root: Path) -> Iterator[SourceVideo]:
    for path in _videos(root):
        name = path.parent.name
        yield SourceVideo(path=path, speaker=name, video=name)


def _voxceleb(root: Path) -> Iterator[SourceVideo]:
    for path in _videos(root):
        match = _VOX_NAME.match(path.name)
        if match:
            yield SourceVideo(path=path, speaker=match[1], video=match[2])
            continue
        parts = [path.parent.parent.name, path.parent.name]
        speaker = next((part for part in path.parts if _VOX_SPEAKER.match(part)), parts[0])
        yield SourceVideo(path=path, speaker=speaker, video=f"{speaker}/{parts[1]}")


def _wav2lip(root: Path) -> Iterator[SourceVideo]:
    for sound in sorted(root.rglob("audio.wav")):
        folder = sound.parent
        if next(folder.glob("*.jpg"), None) is not None:
            name = folder.parent.name
            yield SourceVideo(path=folder, speaker=name, video=name, kind="faces")


def _hdtf(root: Path) -> Iterator[SourceVideo]:
    """Yield the videos that were downloaded. A line of the list of times is ``NAME.mp4 00:10-00:25 01:00-01:20``."""
    files = {path.stem: path for path in _videos(root)}
    for listing in sorted(root.glob(_HDTF_TIMES)):
        prefix = listing.name.removesuffix("annotion_time.txt")
        for line in _text(listing).splitlines():
            name, *times = line.split() or [""]
            stem = Path(name).stem
            path = files.get(stem) or files.get(prefix + stem)
            if path is None:
                continue
            spans = tuple(_span(text, listing) for text in times)
            speaker = re.sub(r"_?\d+$", "", stem) or stem
            yield SourceVideo(path=path, speaker=speaker, video=stem, spans=spans)


def _span(text: str, listing: Path) -> tuple[float, float]:
    first, _, last = text.partition("-")
    return _seconds(first, listing), _seconds(last, listing)


def _seconds(text: str, listing: Path) -> float:
    match = _CLOCK.match(text)
    if match is None:
        raise InputError(f"{listing}: expected a time such as 01:23, got {text!r}", code="unreadable-file")
    return 3600 * int(match[1] or 0) + 60 * int(match[2]) + float(match[3])


_READERS: Final[Mapping[str, Callable[[Path], Iterator[SourceVideo]]]] = {
    "videos": _plain,
    "lrs2": _lrs2,
    "wav2lip": _wav2lip,
    "voxceleb": _voxceleb,
    "hdtf": _hdtf,
    "photos": _photos,
}
