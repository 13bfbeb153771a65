"""Contact sheets in PNG format, with one row of images per variant and the same timestamps in every row."""

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
from retalkit.comparison.report.previews import Box, evenly_spaced_frames, face_crop
from retalkit.errors import RetalkitError
from retalkit.media.sources import open_source

COLUMNS = 6
_TILE_HEIGHT = 300
"""Maximum tile height in pixels."""
_TILE_WIDTH = 320
"""Maximum tile width in pixels."""
_MARGIN = 0.08
"""Margin around the face box, relative to the longer side of the box. The margin is small, so that the mouth occupies a
large part of the tile."""
_GAP = 4
_FONT_SIZE = 18
_BACKGROUND = (255, 255, 255)
_FOREGROUND = (20, 20, 20)


@dataclass(frozen=True, slots=True)
class Sheet:
    """Contact sheet stored in the directory ``sheets``."""

    group: Group
    path: Path
    times: tuple[float, ...]
    """Timestamps of the columns in seconds, taken from the first row."""


def make_sheet(group: Group, folder: Path, face: Box | None = None, columns: int = COLUMNS) -> Sheet | None:
    """Render ``folder/sheets/<group>.png`` from the finished videos, or reuse an existing sheet.

    The function returns None if no video can be read. The timestamps are evenly spaced and do not depend on the
    content of the videos.

    Args:
        group: videos in row order, from top to bottom.
        folder: output directory of the comparison.
        face: crop rectangle, or None for the full frame.
        columns: number of timestamps.
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
            tiles, times = _read_tiles(folder / cell.video, face, columns)
        except RetalkitError:
            continue  # creating the preview raises the same error, which the page reports
        rows.append((cell.name.variant, tiles, times))
    if not rows:
        return None
    sheet = _compose(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    _save(sheet, path, rows[0][2])
    return Sheet(group, path, tuple(rows[0][2]))


def jpeg_copy(path: Path) -> bytes:
    """Return the sheet as JPEG for embedding. The JPEG data is about a fifth of the size of the PNG file."""
    with Image.open(path) as sheet:
        buffer = io.BytesIO()
        sheet.convert("RGB").save(buffer, "JPEG", quality=85, optimize=True)
    return buffer.getvalue()


def _read_tiles(video: Path, face: Box | None, columns: int) -> tuple[list[Image.Image], list[float]]:
    source = open_source(video)
    times = [float(each) for each in source.times(0, source.info.frame_count)]
    chosen = evenly_spaced_frames(times, columns)
    tiles: list[Image.Image] = []
    for _, frame in source.read(chosen):
        tiles.append(_tile(frame, face))
    source.close()
    return tiles, [times[index] for index in chosen]


def _tile(frame: NDArray[np.uint8], face: Box | None) -> Image.Image:
    height, width = frame.shape[:2]
    if face is not None:
        x, y, w, h = face_crop(face, width, height, _MARGIN)
        frame = frame[y : y + h, x : x + w]
        height, width = h, w
    scale = min(_TILE_HEIGHT / height, _TILE_WIDTH / width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS)


def _compose(rows: Sequence[tuple[str, list[Image.Image], list[float]]]) -> Image.Image:
    font = ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), _FONT_SIZE)
    columns = max(len(tiles) for _, tiles, _ in rows)
    width = max(tile.width for _, tiles, _ in rows for tile in tiles)
    label_height = _FONT_SIZE + 2 * _GAP
    heights = [label_height + max(tile.height for tile in tiles) + _GAP for _, tiles, _ in rows]
    sheet = Image.new("RGB", (columns * (width + _GAP) + _GAP, label_height + sum(heights)), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for column, time in enumerate(rows[0][2]):
        draw.text((_GAP + column * (width + _GAP), _GAP), f"{time:.2f} s", _FOREGROUND, font)
    top = label_height
    for (name, tiles, _), height in zip(rows, heights, strict=True):
        # Control characters are replaced because they have no glyph. Long names are clipped at the margin.
        printable = "".join(letter if letter.isprintable() else " " for letter in name)
        draw.text((_GAP, top + _GAP), printable, _FOREGROUND, font)
        for column, tile in enumerate(tiles):
            sheet.paste(tile, (_GAP + column * (width + _GAP), top + label_height))
        top += height
    return sheet


def _save(sheet: Image.Image, path: Path, times: Sequence[float]) -> None:
    from PIL.PngImagePlugin import PngInfo

    metadata = PngInfo()
    metadata.add_text("times", " ".join(f"{time:.4f}" for time in times))
    partial = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        sheet.save(partial, "PNG", pnginfo=metadata)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
