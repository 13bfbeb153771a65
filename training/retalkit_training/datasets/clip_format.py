"""Prepared clips and their representation as members of a tar file.

A clip is one sample in the format of the package ``webdataset``. Its members have the clip's key as base name:

* ``KEY.json``: measurements and properties
* ``KEY.face96.npz``, ``KEY.face256.npz``, ``KEY.face384.npz``: crops as concatenated JPEG files
* ``KEY.reference96.npz``: the same for the reference faces with the canonical expression, if there are any
* ``KEY.audio.wav``: mono audio at 16 kHz. Sample 0 belongs to the start of frame 0.
* ``KEY.mel.npy``: mel spectrogram at 80 steps per second
* ``KEY.arrays.npz``: landmarks, boxes, lip motion, predicted motion and, if available, 3DMM coefficients
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, BinaryIO, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.errors import InputError
from retalkit.stages import SPEECH_RATE
from scipy.io import wavfile

Image = NDArray[np.uint8]
Float = NDArray[np.float32]

FORMAT: Final = 1
"""Version of the format. It is increased when the members of a clip change."""
REFERENCE_SIZE: Final = 96
"""Side of the reference faces in pixels."""
_REFERENCES: Final = f"reference{REFERENCE_SIZE}.npz"


@dataclass(frozen=True, slots=True)
class EncodedImages:
    """JPEG images of equal size."""

    data: NDArray[np.uint8]
    """Concatenated JPEG files."""
    ends: NDArray[np.int64]
    """End of each file in ``data``, int64 [T]."""

    @classmethod
    def encode(cls, images: Image, quality: int) -> EncodedImages:
        """Encode RGB images, uint8 [T, H, W, 3], without chroma subsampling."""
        options = [
            cv2.IMWRITE_JPEG_QUALITY,
            quality,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        ]
        files = [cv2.imencode(".jpg", image[..., ::-1], options)[1].ravel() for image in images]
        data = np.concatenate(files) if files else np.zeros(0, np.uint8)
        return cls(data.astype(np.uint8, copy=False), np.cumsum([len(file) for file in files], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def decode(self, index: int) -> Image:
        """Return one RGB image, uint8 [H, W, 3]. Raises InputError if the file is damaged."""
        first = int(self.ends[index - 1]) if index else 0
        image: Any = cv2.imdecode(self.data[first : int(self.ends[index])], cv2.IMREAD_COLOR)
        if image is None:
            raise InputError(f"image {index} of a clip cannot be decoded", code="corrupt-clip")
        return np.ascontiguousarray(image[..., ::-1]).astype(np.uint8, copy=False)


@dataclass(frozen=True, kw_only=True)
class PreparedClip:
    """Faces of one person with the speech that belongs to them, at 25 frames per second."""

    key: str
    faces: Mapping[int, EncodedImages]
    """Mapping from the side in pixels (96, 256, 384) to the crops."""
    references: EncodedImages | None = None
    """Faces with the canonical expression at 96 x 96 pixels, one for each frame."""
    wave: NDArray[np.int16]
    """Mono audio at 16 kHz, int16 [N]. Frame k starts at sample 640 k."""
    mel: Float
    """Mel spectrogram of ``wave``, float32 [80, S] in [-4, 4]."""
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    """Arrays, most with one row per frame.

    ``landmarks``: pixels of the 256-pixel crop, float32 [T, N, 2]. ``crop_boxes`` and ``face_boxes``: pixels of the
    source, float32 [T, 4]. ``source_frames``: int64 [T]. ``source_times``: seconds, float64 [T]. ``lips``: opening and
    width, float64 [T, 2]. ``motion``: opening and width that the driver predicts, with 9 more frames at both ends,
    float64 [T + 18, 2]. ``coefficients``: 3DMM coefficients, float32 [T, C], only if the weights were available.
    ``face_shape``: mean face mesh in the head frame, float32 [478, 3], not per frame.
    """
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def frame_count(self) -> int:
        return len(next(iter(self.faces.values()))) if self.faces else int(self.meta["frames"])

    @cached_property
    def scheme(self) -> str:
        """Landmark scheme."""
        return str(self.meta.get("landmark_scheme", ""))

    def images(self, side: int, first: int = 0, last: int | None = None) -> Image:
        """Return the RGB crops of frames [first, last), uint8 [T, side, side, 3]."""
        encoded = self.faces[side]
        last = len(encoded) if last is None else last
        if first >= last:
            return np.zeros((0, side, side, 3), np.uint8)
        return np.stack([encoded.decode(index) for index in range(first, last)])

    def waveform(self) -> Float:
        """Return the audio, float32 [N] in [-1, 1]."""
        return (self.wave / np.float32(32768)).astype(np.float32)


def to_members(clip: PreparedClip) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each member. Equal clips have equal bytes."""
    yield f"{clip.key}.json", json.dumps({"format": FORMAT, **clip.meta}, sort_keys=True).encode()
    for side, encoded in clip.faces.items():
        yield f"{clip.key}.face{side}.npz", _npz({"data": encoded.data, "ends": encoded.ends})
    if clip.references is not None:
        yield (
            f"{clip.key}.{_REFERENCES}",
            _npz({"data": clip.references.data, "ends": clip.references.ends}),
        )
    sound = io.BytesIO()
    wavfile.write(sound, SPEECH_RATE, clip.wave)
    yield f"{clip.key}.audio.wav", sound.getvalue()
    spectrum = io.BytesIO()
    np.save(spectrum, clip.mel)
    yield f"{clip.key}.mel.npy", spectrum.getvalue()
    yield f"{clip.key}.arrays.npz", _npz(clip.arrays)


def from_members(key: str, members: Mapping[str, bytes], sides: Collection[int] | None = None) -> PreparedClip:
    """Return the clip from its members, a mapping from suffix (``face96.npz``) to content.

    ``sides``: sides of the crops that the clip contains, or None for all.

    Raises:
        InputError: a member is missing or damaged, or the format is unsupported.
    """
    try:
        meta: dict[str, Any] = json.loads(members["json"])
        if meta.pop("format") != FORMAT:
            raise InputError(f"{key}: unsupported format; prepare the dataset again", code="unsupported-format")
        faces: dict[int, EncodedImages] = {}
        for name, content in members.items():
            if name.startswith("face") and _is_wanted(name, sides):
                arrays = _arrays(content)
                side = int(name.removeprefix("face").removesuffix(".npz"))
                faces[side] = EncodedImages(arrays["data"], arrays["ends"])
        references: EncodedImages | None = None
        if _REFERENCES in members and _is_wanted(_REFERENCES, sides):
            arrays = _arrays(members[_REFERENCES])
            references = EncodedImages(arrays["data"], arrays["ends"])
        rate, wave = wavfile.read(io.BytesIO(members["audio.wav"]))
        if rate != SPEECH_RATE:
            raise ValueError(f"{rate} Hz")
        return PreparedClip(
            key=key,
            faces=dict(sorted(faces.items())),
            references=references,
            wave=np.asarray(wave, np.int16),
            mel=np.load(io.BytesIO(members["mel.npy"])),
            arrays=_arrays(members["arrays.npz"]),
            meta=meta,
        )
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{key}: the clip is damaged ({type(error).__name__}: {error})", code="corrupt-clip"
        ) from error


def to_tar(clip: PreparedClip) -> bytes:
    """Return the clip's members as tar blocks without the end-of-archive marker, so that files can be concatenated."""
    out = io.BytesIO()
    for name, content in to_members(clip):
        # A fixed owner and time make the bytes depend only on the content.
        header = tarfile.TarInfo(name)
        header.size = len(content)
        out.write(header.tobuf(tarfile.USTAR_FORMAT))
        out.write(content)
        out.write(b"\0" * (-len(content) % tarfile.BLOCKSIZE))
    return out.getvalue()


def read_tar(file: BinaryIO, key: str, size: int, sides: Collection[int] | None = None) -> PreparedClip:
    """Read a clip from its tar blocks at the current position of ``file``.

    ``size``: size of the blocks in bytes. ``sides``: sides of the crops to read, or None for all. Other crops are
    skipped without reading them.

    Raises:
        InputError: the blocks are damaged or incomplete.
    """
    members: dict[str, bytes] = {}
    end = file.tell() + size
    try:
        while file.tell() < end:
            header = tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "strict")
            base, _, suffix = header.name.partition(".")
            if base != key:
                raise InputError(f"{key}: the shard contains {header.name} instead", code="corrupt-clip")
            padded = -(-header.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            if _is_wanted(suffix, sides):
                content = file.read(padded)
                if len(content) != padded:
                    raise InputError(f"{key}: the shard is truncated", code="corrupt-clip")
                members[suffix] = content[: header.size]
            else:
                file.seek(padded, io.SEEK_CUR)
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{key}: the shard is damaged ({error})", code="corrupt-clip") from error
    return from_members(key, members, sides)


def _is_wanted(suffix: str, sides: Collection[int] | None) -> bool:
    """Return whether a member is to be read, judged by its suffix, such as ``face96.npz``."""
    if sides is None or not suffix.startswith(("face", "reference")):
        return True
    if suffix == _REFERENCES:
        return REFERENCE_SIZE in sides
    return suffix in {f"face{side}.npz" for side in sides}


def _npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def _arrays(content: bytes) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return dict(stored)
