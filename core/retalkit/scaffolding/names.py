"""Names of a new plugin package: distribution, module and stage."""

from __future__ import annotations

import keyword
import re
import sys
from dataclasses import dataclass
from importlib.util import find_spec

from retalkit.errors import ConfigError
from retalkit.plugins.validation import NAME, YAML_WORDS

_DISTRIBUTION = re.compile(r"[a-z]([a-z0-9]|[-_.](?=[a-z0-9]))*", re.IGNORECASE)
"""Pattern of valid distribution names. Names must start with a letter, so that they can be converted to Python
identifiers."""
_PREFIXES = ("retalkit_plugin_", "retalkit_")
"""Package name prefixes that are removed from the stage name."""
_MAX_LENGTH = 40
_GENERIC = (
    "build common config conftest core demo dist doc docs example examples helper helpers lib main model models "
    "package plugin plugins script scripts setup src stage stages test tests tool tools util utils"
)
"""Reserved names, which many projects use for directories and modules. A package with such a name could shadow a
module."""


@dataclass(frozen=True, slots=True)
class PackageNames:
    """Distribution, module and stage name of one plugin package."""

    distribution: str
    """Distribution name for pip, such as ``retalkit-glow``."""
    module: str
    """Module name for ``import``, such as ``retalkit_glow``."""
    stage: str
    """Stage name for the key ``use`` in a run file, such as ``glow``."""

    def class_name(self, kind: str) -> str:
        """Return the class name, such as ``GlowEnhancer``.

        The kind is omitted if the stage name already ends with the kind.
        """
        own, ending = _camel(self.stage), _camel(kind)
        return own if own.endswith(ending) else own + ending


def names_from(name: str) -> PackageNames:
    """Derive all names from the package name. Raises ConfigError if a derived name is invalid for pip or Python."""
    if not _DISTRIBUTION.fullmatch(name):
        raise ConfigError(
            f"'{name}' is not a valid package name: start with a letter and use only letters, digits and single "
            "hyphens, such as my-enhancer",
            code="invalid-name",
        )
    if len(name) > _MAX_LENGTH:
        raise ConfigError(
            f"'{name}' has {len(name)} characters: use at most {_MAX_LENGTH} characters", code="invalid-name"
        )
    distribution = re.sub(r"[-_.]", "-", name).lower()
    module = distribution.replace("-", "_")
    stage = module
    for prefix in _PREFIXES:
        if len(stage) > len(prefix):
            stage = stage.removeprefix(prefix)
    if not NAME.fullmatch(stage):
        stage = module
    if distribution == "retalkit":
        raise ConfigError("'retalkit' is the name of Retalkit itself: choose a different name", code="reserved-name")
    if keyword.iskeyword(module) or module in sys.stdlib_module_names:
        raise ConfigError(
            f"'{name}' would shadow the Python module or keyword '{module}': choose a different name",
            code="reserved-name",
        )
    if module in _GENERIC.split():
        raise ConfigError(
            f"'{name}' is a reserved name: choose a more specific name",
            code="reserved-name",
        )
    if stage in YAML_WORDS:
        raise ConfigError(
            f"'{name}' would result in the stage name '{stage}', which YAML does not parse as a string: choose a "
            "different name",
            code="reserved-name",
        )
    return PackageNames(distribution, module, stage)


def importable(module: str) -> bool:
    """Return whether a module or package with this name can be imported. The module itself is not imported."""
    try:
        spec = find_spec(module)
    except ValueError:
        return True
    # A namespace package, such as the new package's directory in the working directory, has no origin.
    return spec is not None and spec.origin is not None


def compatible_range(version: str) -> str:
    """Return the range of Retalkit versions that a plugin created for ``version`` supports.

    For example, the range is ``>=0.1,<0.2`` for 0.1.0 and ``>=1.2,<2`` for 1.2.3.
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    return f">={major}.{minor},<{f'0.{minor + 1}' if major == 0 else major + 1}"


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
