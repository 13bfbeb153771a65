"""What a network must offer to become a restoration enhancer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

SIZE: Final = 512
"""Side in pixels of the aligned faces."""


class Restorer(Protocol):
    """Restores aligned faces. It holds a loaded network and nothing of a clip.

    The result for a face must not depend on the other faces of the call.
    """

    def restore(self, faces: NDArray[np.uint8], indexes: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [B, 512, 512, 3], RGB in [0, 1] (values outside are cut): the restored faces.

        ``faces`` RGB uint8 [B, 512, 512, 3], aligned to the template; ``indexes`` int64 [B]: the position of each in
        the output (in the source for reference images), for noise of the frame's own.
        """
        ...


RestorerLoader = Callable[[int], Restorer]
"""Returns the loaded network for a seed. Raises WeightsError."""
