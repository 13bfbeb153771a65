"""Checkpoint download sources: published URLs, mirrors and zip archive members."""

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
from retalkit.weights.store import readable_home

MIRRORS_FILE = "mirrors.txt"


@dataclass(frozen=True, slots=True)
class Address:
    """Candidate URL for a checkpoint file."""

    url: str
    """URL without the member name."""
    member: str = ""
    """Path of the member in the zip archive at ``url``, or an empty string if ``url`` is the checkpoint file itself."""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse ``URL`` or ``URL#MEMBER``.

        Raises:
            WeightsError: the URL is invalid.
        """
        try:
            url, member = urldefrag(text)
            urlsplit(url)
        except ValueError as error:
            raise WeightsError(f"{text}: not an HTTP(S) URL ({error})", code="invalid-url") from error
        return cls(url, unquote(member))

    @property
    def file(self) -> str:
        """File name in the URL."""
        return Path(unquote(urlsplit(self.url).path)).name or "download"


def offline() -> bool:
    """Return whether ``RETALKIT_OFFLINE`` disables downloads."""
    return os.environ.get("RETALKIT_OFFLINE", "").strip().lower() not in ("", "0", "false", "no", "off")


def mirrors() -> list[str]:
    """Return the base URLs of all mirrors.

    The base URLs in ``RETALKIT_MIRRORS`` (comma-separated) precede the base URLs in ``RETALKIT_HOME/mirrors.txt`` (one
    per line).

    Raises:
        WeightsError: an entry is not an HTTP(S) URL, or ``mirrors.txt`` cannot be read.
    """
    entries = [(base, "RETALKIT_MIRRORS") for base in os.environ.get("RETALKIT_MIRRORS", "").split(",")]
    file = readable_home() / MIRRORS_FILE
    if file.exists():
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise WeightsError(f"{file}: the file cannot be read ({error})", code="unreadable-file") from error
        entries += [(line.partition("#")[0], str(file)) for line in lines]
    bases: list[str] = []
    for text, origin in entries:
        base = text.strip().rstrip("/")
        if not base:
            continue
        if not _is_http(base):
            raise WeightsError(
                f"{origin}: invalid mirror '{base}'; a mirror URL must begin with https:// or http://",
                code="invalid-mirror",
            )
        bases.append(base)
    return list(dict.fromkeys(bases))


def _is_http(text: str) -> bool:
    try:
        return urlsplit(text).scheme in ("http", "https")
    except ValueError:
        # urlsplit raises ValueError for some invalid URLs, such as an IPv6 address with a missing bracket.
        return False


def addresses(checkpoint: Checkpoint) -> list[Address]:
    """Return all candidate URLs. Mirror URLs precede the published URLs.

    A mirror may provide either the checkpoint file or the zip archive that contains the checkpoint file.
    """
    published = [Address.parse(url) for url in checkpoint.urls]
    archives = dict.fromkeys((address.file, address.member) for address in published if address.member)
    mirrored: list[Address] = []
    for base in mirrors():
        mirrored.append(Address(f"{base}/{checkpoint.file}"))
        mirrored += [Address(f"{base}/{file}", member) for file, member in archives]
    return list(dict.fromkeys([*mirrored, *published]))


def archive_member(checkpoint: Checkpoint, source: Path) -> str:
    """Return the checkpoint's path in the archive ``source``, or an empty string if ``source`` is the checkpoint file
    itself."""
    if source.suffix.lower() != ".zip" or checkpoint.file.lower().endswith(".zip"):
        return ""
    return next((address.member for address in map(Address.parse, checkpoint.urls) if address.member), "")


@contextmanager
def extract_member(archive: Path, member: str, checkpoint: Checkpoint, folder: Path) -> Generator[Path]:
    """Extract a member of a zip archive to the directory ``folder`` for the duration of the block.

    The member's path in the archive is never used as a path on disk.

    Raises:
        WeightsError: the archive is invalid or does not contain the member.
        FolderError: ``folder`` is not writable.
    """
    target = folder / Path(checkpoint.file).name
    try:
        try:
            with zipfile.ZipFile(archive) as content:
                info = _find_member(content, member, archive)
                if checkpoint.size is not None and info.file_size != checkpoint.size:
                    raise WeightsError(
                        f"{archive}: {member}: size mismatch: expected {checkpoint.size} bytes, got {info.file_size}",
                        code="size-mismatch",
                    )
                with content.open(info) as source:
                    _write(source, target)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
            raise WeightsError(
                f"{archive}: the file is not a zip archive or is damaged ({error})", code="unreadable-file"
            ) from error
        except OSError as error:
            raise WeightsError(
                f"{archive}: the file cannot be read ({error.strerror or error})", code="unreadable-file"
            ) from error
        yield target
    finally:
        target.unlink(missing_ok=True)


def _find_member(content: zipfile.ZipFile, member: str, archive: Path) -> zipfile.ZipInfo:
    """Return the archive entry with the given path, or the only entry with the given file name in any directory."""
    files = [info for info in content.infolist() if not info.is_dir()]
    exact = [info for info in files if info.filename == member]
    found = exact or [info for info in files if info.filename.rpartition("/")[2] == member]
    if not found:
        raise WeightsError(f"{archive}: the archive does not contain {member}", code="missing-member")
    if len(found) > 1:
        raise WeightsError(f"{archive}: the archive contains more than one {member}", code="ambiguous-member")
    return found[0]


def _write(source: IO[bytes], target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            shutil.copyfileobj(source, file)
    except OSError as error:
        raise FolderError(
            f"{target}: the file is not writable ({error.strerror or error})", code="folder-not-writable"
        ) from error
