"""Who the person is, read once from every reference picture."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retalkit_enhancers.enet.network import ENet, Identity
from retalkit_enhancers.enet.places import blue_first

_KEPT = 4096
"""Codes in memory, 2 KB each: a clip that is shown forth and back meets its references again."""


class Identities:
    """Identity codes by the bytes of the reference. A still reference is read once for the whole clip."""

    def __init__(self, network: ENet, device: str) -> None:
        self._network = network
        self._device = device
        self._codes: OrderedDict[bytes, Tensor] = OrderedDict()
        self._last: tuple[bytes, Identity] | None = None

    @staticmethod
    def key(reference: NDArray[np.uint8]) -> bytes:
        """What two references share when they are equal."""
        return hashlib.blake2b(reference.tobytes(), digest_size=16).digest()

    def of(self, reference: NDArray[np.uint8], key: bytes) -> Identity:
        """The decoder's weights for a reference face RGB uint8 [384, 384, 3] with this key."""
        if self._last is None or self._last[0] != key:
            self._last = key, self._network.fold(self._code(reference, key))
        return self._last[1]

    def _code(self, reference: NDArray[np.uint8], key: bytes) -> Tensor:
        code = self._codes.get(key)
        if code is None:
            # One at a time: a code does not depend on what else is read.
            picture = torch.from_numpy(blue_first(reference)).to(self._device)
            code = self._network.encode(picture[None].float() / 255)[0].float()
            self._codes[key] = code
            if len(self._codes) > _KEPT:
                self._codes.popitem(last=False)
        else:
            self._codes.move_to_end(key)
        return code
