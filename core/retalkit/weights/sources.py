"""Where a checkpoint may be got from: its published addresses, mirrors before them, and members of zip files."""

from __future__ import annotations

import lzma
import os
import shutil
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urldefrag, urlsplit

from retalkit.errors import WeightsError
from retalkit.weights.checkpoint import Checkpoint
from retalkit.weights.locks import FolderError
from retalkit.weights.store import home

MIRRORS_FILE = "mirrors.txt"


@dataclass(frozen=True, slots=True)
class Address:
    """One place that may have the file of a checkpoint."""

    url: str
    """Without the name of a member."""
    member: str = ""
    """The file's name inside the zip that lies there; empty where the file itself lies there."""

    @classmethod
    def read(cls, text: str) -> Address:
        """Of ``ADDRESS`` or ``ADDRESS#MEMBER``."""
        url, member = urldefrag(text)
        return cls(url, unquote(member))

    @property
    def file(self) -> str:
        """Name of what lies there."""
        return Path(unquote(urlsplit(self.url).path)).name or "download"


def offline() -> bool:
    """Whether ``RETALKIT_OFFLINE`` forbids downloads."""
    return os.environ.get("RETALKIT_OFFLINE", "").strip().lower() not in ("", "0", "false", "no", "off")


def mirrors() -> list[str]:
    """Base addresses of ``RETALKIT_MIRRORS`` (comma-separated), then of the lines of ``mirrors.txt`` in
    ``RETALKIT_HOME``. Raises WeightsError for what is no http address, or a file that cannot be read."""
    named = [(base, "RETALKIT_MIRRORS") for base in os.environ.get("RETALKIT_MIRRORS", "").split(",")]
    file = home() / MIRRORS_FILE
    if file.exists():
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise WeightsError(f"{file}: cannot be read ({error})") from error
        named += [(line.partition("#")[0], str(file)) for line in lines]
    bases: list[str] = []
    for text, origin in named:
        base = text.strip().rstrip("/")
        if not base:
            continue
        if not _is_http(base):
            raise WeightsError(f"{origin}: '{base}' is no address of a mirror: it must begin with https:// or http://")
        bases.append(base)
    return list(dict.fromkeys(bases))


def _is_http(text: str) -> bool:
    try:
        return urlsplit(text).scheme in ("http", "https")
    except ValueError:
        # Such as half of the brackets of an IPv6 address.
        return False


def addresses(checkpoint: Checkpoint) -> list[Address]:
    """Every place to try, mirrors first: under a mirror lies the file itself, or the zip that holds it."""
    published = [Address.read(url) for url in checkpoint.urls]
    zips = dict.fromkeys((address.file, address.member) for address in published if address.member)
    mirrored: list[Address] = []
    for base in mirrors():
        mirrored.append(Address(f"{base}/{checkpoint.file}"))
        mirrored += [Address(f"{base}/{file}", member) for file, member in zips]
    return list(dict.fromkeys([*mirrored, *published]))


def member_of(checkpoint: Checkpoint, source: Path) -> str:
    """Which member of ``source`` is the checkpoint's file; empty where ``source`` is that file itself."""
    if source.suffix.lower() != ".zip" or checkpoint.file.lower().endswith(".zip"):
        return ""
    return next((address.member for address in map(Address.read, checkpoint.urls) if address.member), "")


@contextmanager
def taken_out(archive: Path, member: str, checkpoint: Checkpoint, folder: Path) -> Generator[Path]:
    """The member of a zip as a file in ``folder``, which goes at the end. Its path in the zip is never used on disk.

    Raises WeightsError for no zip or one without the member, FolderError where ``folder`` cannot be written.
    """
    target = folder / Path(checkpoint.file).name
    try:
        try:
            with zipfile.ZipFile(archive) as content:
                info = _entry(content, member, archive)
                if checkpoint.size is not None and info.file_size != checkpoint.size:
                    raise WeightsError(
                        f"{archive}: its {member} has {info.file_size} bytes, the published one {checkpoint.size}"
                    )
                with content.open(info) as source:
                    _write(source, target)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
            raise WeightsError(f"{archive}: is no zip file, or a damaged one ({error})") from error
        except OSError as error:
            raise WeightsError(f"{archive}: cannot be read ({error.strerror or error})") from error
        yield target
    finally:
        target.unlink(missing_ok=True)


def _entry(content: zipfile.ZipFile, member: str, archive: Path) -> zipfile.ZipInfo:
    """The entry of that name, or the only file of that name in some folder of the zip."""
    files = [info for info in content.infolist() if not info.is_dir()]
    exact = [info for info in files if info.filename == member]
    found = exact or [info for info in files if info.filename.rpartition("/")[2] == member]
    if len(found) != 1:
        raise WeightsError(f"{archive}: holds {'no' if not found else 'more than one'} {member}")
    return found[0]


def _write(source: IO[bytes], target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            shutil.copyfileobj(source, file)
    except OSError as error:
        raise FolderError(f"{target}: cannot be written ({error.strerror or error})") from error
