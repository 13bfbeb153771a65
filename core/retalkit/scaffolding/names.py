"""What a new plugin package, its module and its stage are called."""

from __future__ import annotations

import keyword
import re
import sys
from dataclasses import dataclass
from importlib.util import find_spec

from retalkit.errors import ConfigError
from retalkit.plugins.validation import NAME, YAML_WORDS

_DISTRIBUTION = re.compile(r"[a-z]([a-z0-9]|[-_.](?=[a-z0-9]))*", re.IGNORECASE)
"""As the packaging standards have it, and with a letter in front, since Python names begin with one."""
_PREFIXES = ("retalkit_plugin_", "retalkit_")
"""What says to a package index what the package is for and is idle in a run file."""
_LONGEST = 40
_GENERIC = (
    "build common config conftest core demo dist doc docs example examples helper helpers lib main model models "
    "package plugin plugins script scripts setup src stage stages test tests tool tools util utils"
)
"""What other folders and modules are called as well: the package would hide them, or be hidden by them."""


@dataclass(frozen=True, slots=True)
class PackageNames:
    """All names of one package."""

    distribution: str
    """What pip calls it, for instance ``retalkit-glow``."""
    module: str
    """What Python imports, for instance ``retalkit_glow``."""
    stage: str
    """What a run file writes behind ``use:``, for instance ``glow``."""

    def class_name(self, kind: str) -> str:
        """``GlowEnhancer`` for the stage ``glow`` of the kind ``enhancer``; the kind is not said twice."""
        own, ending = _camel(self.stage), _camel(kind)
        return own if own.endswith(ending) else own + ending


def names_from(name: str) -> PackageNames:
    """The names that follow from what the user typed. Raises ConfigError where they are of no use to pip or Python."""
    if not _DISTRIBUTION.fullmatch(name):
        raise ConfigError(
            f"'{name}' is no name for a package: write letters, digits and single dashes, and a letter first, such as "
            "my-enhancer"
        )
    if len(name) > _LONGEST:
        raise ConfigError(f"'{name}' is too long for a name: at most {_LONGEST} characters")
    distribution = re.sub(r"[-_.]", "-", name).lower()
    module = distribution.replace("-", "_")
    stage = module
    for prefix in _PREFIXES:
        if len(stage) > len(prefix):
            stage = stage.removeprefix(prefix)
    if not NAME.fullmatch(stage):
        stage = module
    if distribution == "retalkit":
        raise ConfigError("'retalkit' is this program itself: choose another name")
    if keyword.iskeyword(module) or module in sys.stdlib_module_names:
        raise ConfigError(f"'{name}' would hide Python's own '{module}': choose another name")
    if module in _GENERIC.split():
        raise ConfigError(f"'{name}' is what many other folders and modules are called: choose another name")
    if stage in YAML_WORDS:
        raise ConfigError(f"'{name}' would be the stage '{stage}', which YAML takes for no text: choose another name")
    return PackageNames(distribution, module, stage)


def importable(module: str) -> bool:
    """Whether a module or package of that name can be imported here. Imports nothing."""
    try:
        spec = find_spec(module)
    except ValueError:
        return True
    # A mere folder of that name on the path, such as the package's own, has no origin.
    return spec is not None and spec.origin is not None


def compatible_range(version: str) -> str:
    """The versions of Retalkit that a plugin made for ``version`` may run with: ``>=0.1,<0.2`` for 0.1.0, ``>=1.2,<2``
    for 1.2.3."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return f">={major}.{minor},<{f'0.{minor + 1}' if major == 0 else major + 1}"


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
