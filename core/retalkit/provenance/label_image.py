"""Image of the visible label: text and icon on a dark, translucent box."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from retalkit.provenance.label_files import font_file, read_icon
from retalkit.provenance.options import LabelOptions

_BOX_OPACITY: Final = 0.62
_TEXT_HEIGHT: Final = 0.62
"""Font size as a fraction of the label's height."""
_PADDING: Final = 0.35
"""Distance of the text from the left and right edge of the box, as a fraction of the label's height."""
_CORNER: Final = 0.22
_MAX_WIDTH: Final = 0.9
"""Maximum width as a fraction of the image. A longer text is drawn smaller."""
_MARGIN: Final = 0.03
"""Distance from the edge as a fraction of the shorter side of the image."""


def draw_label(options: LabelOptions, width: int, height: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the label's image for a video of ``width`` x ``height`` pixels.

    Returns the colours as RGB uint8 [h, w, 3] and the opacity in [0, 1] as float32 [h, w].
    """
    from PIL import Image, ImageDraw, ImageFont

    wanted = max(round(options.size * min(width, height)), 12)
    scale = 1.0
    while True:
        tall = max(round(wanted * scale), 8)
        font = ImageFont.truetype(str(font_file(options.font)), max(round(tall * _TEXT_HEIGHT), 6))
        padding, text_width = round(tall * _PADDING), int(np.ceil(font.getlength(options.text)))
        icon = None if options.icon is None else read_icon(options.icon, round(tall * 0.75))
        icon_width = 0 if icon is None else icon.width + (padding // 2 if options.text else 0)
        wide = text_width + icon_width + 2 * padding
        if wide <= _MAX_WIDTH * width or tall <= 8:
            break
        scale *= min(_MAX_WIDTH * width / wide, 0.98)
    wide = min(wide, width)
    image = Image.new("RGBA", (wide, tall), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((0, 0, wide - 1, tall - 1), round(tall * _CORNER), fill=(0, 0, 0, round(255 * _BOX_OPACITY)))
    if icon is not None:
        image.alpha_composite(icon, (padding, (tall - icon.height) // 2))
    draw.text((padding + icon_width, tall / 2), options.text, fill=(255, 255, 255, 255), font=font, anchor="lm")
    pixels = np.asarray(image)
    return pixels[..., :3].copy(), (pixels[..., 3] / np.float32(255)).astype(np.float32)


def label_place(options: LabelOptions, size: tuple[int, int], label: tuple[int, int]) -> tuple[int, int]:
    """Return the left and top of a label of ``label`` pixels (width, height) in a video of ``size`` pixels."""
    margin = round(_MARGIN * min(size))
    horizontal = {"left": margin, "right": size[0] - label[0] - margin}
    side = options.position.partition("-")[2]
    left = horizontal.get(side, (size[0] - label[0]) // 2)
    top = margin if options.position.startswith("top") else size[1] - label[1] - margin
    return max(min(left, size[0] - label[0]), 0), max(min(top, size[1] - label[1]), 0)
