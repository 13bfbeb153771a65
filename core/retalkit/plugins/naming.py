"""What plugins may call what they offer."""

from __future__ import annotations

import re
from typing import Final

NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
"""Names of stages, drivers, metrics and checkpoints."""
NO_TEXT: Final = frozenset({"false", "no", "null", "off", "on", "true", "yes"})
"""Words that readers of YAML take for something else than a text: a run file could not name them."""


def name_fault(name: object) -> str | None:
    """Why nothing can be called so, as the end of a sentence, or None."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return "a name begins with a letter and holds lower-case letters, digits and underscores only"
    if name in NO_TEXT:
        return "YAML takes that for a truth value or for nothing, so that no run file could name it"
    return None
