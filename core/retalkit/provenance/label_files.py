"""Font and icon of the visible label."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retalkit.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image


def check_label(text: str, icon: Path | None, font: Path | None) -> None:
    """Raise ConfigError if the icon or the font cannot be used, or if the font lacks a character of the text."""
    from matplotlib.ft2font import FT2Font

    if icon is not None:
        read_icon(icon, 16)
    try:
        known = FT2Font(str(font_file(font))).get_charmap()
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"font: {font} is not a TrueType or OpenType font", code="invalid-label") from error
    missing = sorted({character for character in text if ord(character) not in known})
    if missing:
        raise ConfigError(
            f"text: the font has no glyph for '{missing[0]}' (U+{ord(missing[0]):04X}); set label.font to a font that "
            "contains all characters",
            code="invalid-label",
        )


def font_file(font: Path | None) -> Path:
    """Return the path of the font. The default is DejaVu Sans of matplotlib, which Retalkit requires."""
    if font is not None:
        return font
    spec = find_spec("matplotlib")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], "mpl-data", "fonts", "ttf", "DejaVuSans-Bold.ttf")


def read_icon(path: Path, height: int) -> Image:
    """Return the icon with transparency, resized to ``height`` pixels. Raises ConfigError if it is not an image."""
    from PIL import Image

    from retalkit.media.image_files import PILLOW_ERRORS

    try:
        with Image.open(path) as opened:
            icon: Any = opened.convert("RGBA")
    except PILLOW_ERRORS as error:
        raise ConfigError(f"icon: {path} is not an image", code="invalid-label") from error
    width = max(round(icon.width * height / icon.height), 1)
    return icon.resize((width, max(height, 1)), Image.Resampling.LANCZOS)
