"""Cache for the identity codes of reference faces."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.inference import CompiledNetwork
from torch import Tensor

from retalkit_enhancers.enet.face_region import to_bgr_planes

_MAXIMUM = 4096
"""Maximum number of cached codes. Each code requires 2 KB. A clip that is played back and forth reuses its references.
"""


def reference_key(reference: NDArray[np.uint8]) -> bytes:
    """Return a hash of the reference's pixels. Identical references have identical hashes."""
    return hashlib.blake2b(reference.tobytes(), digest_size=16).digest()


class IdentityCodes:
    """Cache for identity codes. A static reference is therefore encoded once per clip."""

    def __init__(self, encoder: CompiledNetwork) -> None:
        self._encoder = encoder
        self._codes: OrderedDict[bytes, Tensor] = OrderedDict()

    def get(self, reference: NDArray[np.uint8], key: bytes) -> Tensor:
        """Return a reference face's identity code, float32 [1, 512].

        ``reference``: RGB uint8 [384, 384, 3]. ``key``: hash of ``reference``.
        """
        code = self._codes.get(key)
        if code is None:
            # Encode references one at a time, so that a code does not depend on other references in a batch.
            image = torch.from_numpy(to_bgr_planes(reference))
            code = self._encoder(image[None].float() / 255)[0]
            self._codes[key] = code
            if len(self._codes) > _MAXIMUM:
                self._codes.popitem(last=False)
        else:
            self._codes.move_to_end(key)
        return code
