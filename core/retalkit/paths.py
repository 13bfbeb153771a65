"""Paths that a user passes: names that cannot be used, symbolic links, and temporary files next to an output."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import uuid
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from retalkit.errors import ConfigError, InputError, OutputError, RetalkitError

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(?=[^/])")
_NAME_BYTES: Final = 255
"""Maximum length of a file name if the file system does not report the length."""
_SHOWN_STEM: Final = 24
_LOCK_SUFFIX: Final = ".lock"


def check_encoding(path: Path | str, error: type[RetalkitError] = InputError) -> None:
    """Raise ``error`` if a path contains bytes that are not valid text in the encoding of file names.

    Python represents such bytes as lone surrogates, which neither JSON nor most libraries can contain.
    """
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise error(f"{printable(text)}: {undecodable()}", code="invalid-name") from None


def undecodable() -> str:
    """Return the reason why a name with lone surrogates cannot be used, and the fix."""
    encoding = sys.getfilesystemencoding()
    if encoding.lower().replace("-", "") == "utf8":
        return "the name contains bytes that are not valid UTF-8; rename the file or directory"
    return f"the name is not valid in the encoding {encoding}; set a UTF-8 locale, such as LC_ALL=C.UTF-8"


def printable(text: str) -> str:
    r"""Return the text with undecodable bytes as escapes, such as ``caf\xe9.mp4``."""
    return (
        re.sub("[\udc80-\udcff]", lambda found: f"\\x{ord(found.group()) - 0xDC00:02x}", text)
        .encode(errors="backslashreplace")
        .decode()
    )


def missing(path: Path | str, problem: str = "file not found; check the path") -> str:
    """Return the message for a path that does not exist: ``problem``, or what the argument is instead of a path."""
    text = printable(str(path))
    return not_a_path(text) or f"{text}: {problem}"


def not_a_path(text: str) -> str:
    """Return the message for a URL, ``-`` or ``~``, which are not supported as paths, or an empty string."""
    url = _URL.match(text)
    if url is not None:
        # pathlib joins consecutive slashes.
        address = f"{url.group(1)}:{'///' if url.group(1) == 'file' else '//'}{text[url.end() :]}"
        return f"{address}: URLs are not supported; download the file and pass its path"
    if text == "-":
        return "-: standard input and output are not supported; pass the path of a file"
    if text.startswith("~"):
        return f"{text}: ~ was not expanded, because it is inside quotes; remove the quotes or write the full path"
    return ""


def is_any_of(path: Path, others: Iterable[Path]) -> bool:
    """Return whether a path and one of ``others`` are the same existing file."""
    for other in others:
        try:
            if path.samefile(other):
                return True
        except (OSError, ValueError):
            continue
    return False


def is_file(path: Path) -> bool:
    """Return whether a file exists. The result is False for names that are too long for the file system."""
    try:
        return path.is_file()
    except OSError:
        return False


def shortened(name: str, limit: int) -> str:
    """Return the start of a name with at most ``limit`` bytes."""
    return os.fsencode(name)[:limit].decode(errors="ignore")


def home_folder(setting: str) -> Path:
    """Return the user's home directory.

    ``setting``: what selects another directory, such as an environment variable. Raises ConfigError if the user has no
    home directory, such as a user of a container without an entry in the password database.
    """
    try:
        return Path.home()
    except RuntimeError as error:
        raise ConfigError(
            f"the user {os.getuid() if hasattr(os, 'getuid') else ''} has no home directory; set {setting}",
            code="no-home-directory",
        ) from error


def expand_home(text: str | Path) -> Path:
    """Return a path with ``~`` replaced by the home directory, or the unchanged path if the user has none."""
    path = Path(text)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def check_name_length(path: Path, longest: int = 0, error: type[RetalkitError] = OutputError) -> None:
    """Raise ``error`` if a file system cannot store the name of ``path`` with ``longest`` additional bytes."""
    limit = _NAME_BYTES
    if hasattr(os, "pathconf"):
        with suppress(OSError, ValueError):
            limit = os.pathconf(path.parent, "PC_NAME_MAX")
    size = len(os.fsencode(path.name))
    if size + longest > limit:
        raise error(
            f"{path}: the file name has {size} bytes, but at most {limit - longest} are possible; "
            "choose a shorter name",
            code="name-too-long",
        )


def link_target(path: Path) -> Path:
    """Return the path that ``path`` refers to if it is a symbolic link, otherwise ``path``.

    An output is renamed to this path, so that a link is kept and the file to which the link refers is replaced.
    """
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def partial_path(path: Path, label: str = "") -> Path:
    """Return the path of a new temporary file for ``path``: in the same directory, with the same suffix, and with a
    name that is never longer than 100 bytes."""
    target = link_target(path)
    suffix = target.suffix if len(os.fsencode(target.suffix)) <= 16 else ""
    extra = f".{label}" if label else ""
    # Processes on several hosts can have the same id.
    return target.with_name(f"{_partial_prefix(target)}{os.getpid()}-{uuid.uuid4().hex[:8]}{extra}.partial{suffix}")


def partial_files(path: Path) -> list[Path]:
    """Return the existing temporary files for ``path``, which killed processes leave behind."""
    target = link_target(path)
    prefix, end = _partial_prefix(target), f".partial{target.suffix}"
    try:
        return [each for each in target.parent.iterdir() if each.name.startswith(prefix) and each.name.endswith(end)]
    except OSError:
        return []


def _partial_prefix(target: Path) -> str:
    """Return a short prefix that identifies the file name."""
    return f".{shortened(target.stem, _SHOWN_STEM)}-{_digest(target)[:8]}."


def _digest(target: Path) -> str:
    return hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]


@contextmanager
def reserved(path: Path) -> Generator[None]:
    """Reserve an output file or directory during the block, so that no other run of any process or thread writes it.

    Raises OutputError if the output is reserved. Has no effect on file systems without locks.
    """
    from filelock import FileLock, Timeout

    target = link_target(path)
    file = target.with_name(f".retalkit-{_digest(target)}{_LOCK_SUFFIX}")
    lock = FileLock(file, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputError(
            f"{path}: another run is writing this output; wait until that run has ended, or choose another output path",
            code="output-in-use",
        ) from error
    except (OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        # The file is removed while the lock is held. A run that opened it before starts with a new file.
        file.unlink(missing_ok=True)
        lock.release()
