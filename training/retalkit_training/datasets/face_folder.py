"""Source for directories of face images, as Wav2Lip's ``preprocess.py`` writes them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.errors import InputError
from retalkit.stages import SourceInfo
from retalkit_training.datasets.settings import FRAME_RATE

SIDE: Final = 256
"""Side in pixels to which the face images are resized. Their sizes differ from frame to frame."""
BORDER: Final = 96
"""Width in pixels of the border, because face detectors and aligned crops require the surroundings of the face."""


class FaceFolderSource:
    """Source whose frames are face images with a blurred border. Implements ``retalkit.stages.Source``.

    The number in the file name determines the time of an image, at 25 frames per second. Missing numbers are frames in
    which no face was detected.
    """

    def __init__(self, folder: Path) -> None:
        """List the images. Raises InputError if the directory contains no images with numbers as names."""
        self.folder = folder
        named = sorted((int(path.stem), path) for path in folder.glob("*.jpg") if path.stem.isdigit())
        if not named:
            raise InputError(f"{folder}: no face images such as 0.jpg found", code="no-videos")
        self.numbers = np.array([number for number, _ in named], np.int64)
        self._paths = [path for _, path in named]
        shape = self._image(0).shape
        self.face_width = shape[1]
        """Width of the first image in pixels, before it is resized."""

    @property
    def info(self) -> SourceInfo:
        side = SIDE + 2 * BORDER
        end = float(self.numbers[-1] + 1) / FRAME_RATE
        return SourceInfo(width=side, height=side, frame_count=len(self._paths), duration=end)

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        return self.numbers[start:stop] / float(FRAME_RATE)

    def read(self, indexes: Iterable[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for index in indexes:
            face = cv2.resize(self._image(index), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
            framed = cv2.copyMakeBorder(face, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE)
            soft = cv2.GaussianBlur(framed, (0, 0), 8)
            soft[BORDER:-BORDER, BORDER:-BORDER] = face
            yield index, soft.astype(np.uint8, copy=False)

    def content_hash(self) -> str:
        """Return the SHA-256 hash of the names and contents of the images and of the audio."""
        digest = hashlib.sha256()
        for path in [*self._paths, self.folder / "audio.wav"]:
            digest.update(os.fsencode(path.name))
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def _image(self, index: int) -> NDArray[np.uint8]:
        # OpenCV cannot open files whose names are not valid UTF-8.
        image: Any = cv2.imdecode(np.fromfile(self._paths[index], np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise InputError(f"{self._paths[index]}: cannot be read as an image", code="unreadable-file")
        return np.ascontiguousarray(image[..., ::-1]).astype(np.uint8, copy=False)
