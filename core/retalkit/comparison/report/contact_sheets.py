"""Contact sheets: the same moments of every variant, one below the other, as a PNG."""

from __future__ import annotations

import hashlib
import io
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from retalkit.comparison.report.groups import Group
from retalkit.comparison.report.previews import Box, crop_around, nearest_frames
from retalkit.errors import RetalkitError
from retalkit.media.sources import open_source

COLUMNS = 6
_TILE = 300
"""Height of a picture in pixels."""
_WIDEST = 320
_MARGIN = 0.08
"""Part of the longer side of the face's box that is kept around: mouths must be seen here, necks are in the videos."""
_GAP = 4
_TEXT = 18
_PAPER = (255, 255, 255)
_INK = (20, 20, 20)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A contact sheet in the folder ``sheets``."""

    group: Group
    path: Path
    times: tuple[float, ...]
    """Seconds of its columns, those of its first row."""


def make_sheet(group: Group, folder: Path, face: Box | None = None, columns: int = COLUMNS) -> Sheet | None:
    """Draws ``folder/sheets/<group>.png`` from the finished videos, unless it is there; None where none can be read.

    The moments lie evenly in time, whatever is seen there: nobody chose them.

    Args:
        group: rows from top to bottom.
        folder: the output folder of the comparison.
        face: what part of the frames to show; None: all.
        columns: moments.
    """
    keys = [cell.key for cell in group.cells]
    mark = hashlib.blake2s(repr(("sheet 4", group.id, keys, face, columns)).encode(), digest_size=6).hexdigest()
    path = folder / "sheets" / f"{group.id}-{mark}.png"
    if path.is_file():
        with Image.open(path) as found:
            times = tuple(float(each) for each in str(found.info.get("times", "")).split())
        return Sheet(group, path, times)
    rows: list[tuple[str, list[Image.Image], list[float]]] = []
    for cell in group.cells:
        try:
            pictures, times = _moments(folder / cell.video, face, columns)
        except RetalkitError:
            continue  # the page lists it: its preview failed for the same reason
        rows.append((cell.name.variant, pictures, times))
    if not rows:
        return None
    drawn = _draw(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    _save(drawn, path, rows[0][2])
    return Sheet(group, path, tuple(rows[0][2]))


def small_copy(path: Path) -> bytes:
    """The sheet as a JPEG of a fifth of the size, for pages that hold it inside."""
    with Image.open(path) as sheet:
        kept = io.BytesIO()
        sheet.convert("RGB").save(kept, "JPEG", quality=85, optimize=True)
    return kept.getvalue()


def _moments(video: Path, face: Box | None, columns: int) -> tuple[list[Image.Image], list[float]]:
    source = open_source(video)
    times = [float(each) for each in source.times(0, source.info.frame_count)]
    chosen = nearest_frames(times, columns)
    pictures: list[Image.Image] = []
    for _, frame in source.read(chosen):
        pictures.append(_tile(frame, face))
    source.close()
    return pictures, [times[at] for at in chosen]


def _tile(frame: NDArray[np.uint8], face: Box | None) -> Image.Image:
    height, width = frame.shape[:2]
    if face is not None:
        x, y, w, h = crop_around(face, width, height, _MARGIN)
        frame = frame[y : y + h, x : x + w]
        height, width = h, w
    scale = min(_TILE / height, _WIDEST / width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS)


def _draw(rows: Sequence[tuple[str, list[Image.Image], list[float]]]) -> Image.Image:
    font = ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), _TEXT)
    columns = max(len(pictures) for _, pictures, _ in rows)
    wide = max(picture.width for _, pictures, _ in rows for picture in pictures)
    band = _TEXT + 2 * _GAP
    heights = [band + max(picture.height for picture in pictures) + _GAP for _, pictures, _ in rows]
    sheet = Image.new("RGB", (columns * (wide + _GAP) + _GAP, band + sum(heights)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, time in enumerate(rows[0][2]):
        pen.text((_GAP + column * (wide + _GAP), _GAP), f"{time:.2f} s", _INK, font)
    top = band
    for (name, pictures, _), height in zip(rows, heights, strict=True):
        # Control characters have no shape; a name that is too long ends in the margin.
        shown = "".join(letter if letter.isprintable() else " " for letter in name)
        pen.text((_GAP, top + _GAP), shown, _INK, font)
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (_GAP + column * (wide + _GAP), top + band))
        top += height
    return sheet


def _save(sheet: Image.Image, path: Path, times: Sequence[float]) -> None:
    from PIL.PngImagePlugin import PngInfo

    words = PngInfo()
    words.add_text("times", " ".join(f"{time:.4f}" for time in times))
    partial = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        sheet.save(partial, "PNG", pnginfo=words)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
