"""One file over http(s): goes on where it was cut, waits for what may pass, and says what does not fit.

Nothing else in Retalkit opens a connection. Proxies are those of the environment (``HTTPS_PROXY``, ``HTTP_PROXY``,
``NO_PROXY``), as urllib reads them.
"""

from __future__ import annotations

import errno
import http.client
import json
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from retalkit._version import __version__
from retalkit.errors import WeightsError
from retalkit.weights.describe import readable_size
from retalkit.weights.locks import FolderError

_PIECE = 1 << 18
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that another attempt may change."""
_LONGEST_WAIT = 60.0
_LARGEST = 20_000_000_000
"""Bytes that no checkpoint has. Where no size was published a server must not fill the disk."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a download waits, and how often it tries again."""

    stall_seconds: float = 30.0
    """Without a byte for so long the connection counts as dead."""
    attempts: int = 5
    """Attempts in a row that bring nothing new, before an address is given up."""
    first_wait: float = 1.0
    """Seconds before the second attempt; doubles from attempt to attempt."""


@dataclass(frozen=True, slots=True)
class Hearing:
    """Who is told how far it is."""

    begin: Callable[[int, int | None], None]
    """(bytes that are there already, bytes of the whole file if known), once per attempt that brings something."""
    have: Callable[[int], None]
    """Bytes that are there now."""
    say: Callable[[str], None]
    """One sentence, for instance why it tries again."""


class AddressError(WeightsError):
    """The address does not give the file; another one may."""


class _PassingError(Exception):
    """It failed in a way that another attempt may change."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True, slots=True)
class _Note:
    """What is known of a part on disk; without it the part is thrown away."""

    url: str
    validator: str | None
    """Strong ETag, or date of the last change, for If-Range."""
    total: int | None


class Download:
    """A file that comes from one address into ``part``, which stays when it is cut: the next call goes on with it."""

    def __init__(
        self, url: str, part: Path, hearing: Hearing, patience: Patience | None = None, *, hash_known: bool = True
    ) -> None:
        """``hash_known``: the whole file is compared with its SHA-256 afterwards. Where it is not, a part is
        gone on with only if the server says that it still has the same file: equal lengths are no proof."""
        self._hash_known = hash_known
        self.url = url
        self.part = part
        self.note_file = part.with_name(f"{part.name}.json")
        self._hearing = hearing
        self._patience = patience or Patience()

    def run(self, size: int | None = None) -> None:
        """Returns when ``part`` is whole. ``size``: bytes that it must have, where they are known.

        Raises AddressError where the address does not give it, FolderError where it cannot be written.
        """
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise AddressError(f"{self.url}: is no http address")
        self._make_folder()
        furthest, idle = self._usable(), 0
        while True:
            try:
                self._attempt(size)
                return
            except _PassingError as error:
                there = self._usable()
                idle = 0 if there > furthest else idle + 1
                furthest = max(furthest, there)
                if idle >= self._patience.attempts:
                    raise AddressError(f"{self.url}: {error}, {idle} times in a row") from error
                wait = min(error.wait or self._patience.first_wait * 2.0 ** max(0, idle - 1), _LONGEST_WAIT)
                place = f" from {readable_size(there)}" if there else ""
                self._hearing.say(f"{self.url}: {error}; tries again{place} in {wait:.0f} s")
                time.sleep(wait)

    def discard(self) -> None:
        """Takes away what came."""
        for file in (self.part, self.note_file):
            with suppress(OSError):
                file.unlink(missing_ok=True)

    # ------------------------------------------------------------------ one attempt

    def _attempt(self, size: int | None) -> None:
        have, note = self._usable(), self._read_note()
        if have and note is not None and note.total == have:
            return
        request = urllib.request.Request(self.url, headers={"User-Agent": f"retalkit/{__version__}"})
        if have and note is not None:
            request.add_header("Range", f"bytes={have}-")
            if note.validator:
                request.add_header("If-Range", note.validator)
        response = self._answer(request)
        with response:
            start, total = self._placed(response, have, note)
            if size is not None and total is not None and total != size:
                raise AddressError(f"{self.url}: has {total} bytes, the published file {size}: it is another one")
            self._check_space(start, total, size is not None)
            limit = size if total is None else total
            with self._opened(start, _Note(self.url, _validator(response), total)) as file:
                self._hearing.begin(start, limit)
                there = self._copy(response, file, start, limit)
        if limit is not None and there < limit:
            raise _PassingError(f"was cut at {there} of {limit} bytes")

    def _answer(self, request: urllib.request.Request) -> Any:
        try:
            return _opener().open(request, timeout=self._patience.stall_seconds)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416:
                    self.discard()
                    raise _PassingError("does not have the rest that was asked for") from error
                if error.code in _PASSING:
                    raise _PassingError(
                        f"answers {error.code} {_one_line(error.reason)}", _retry_after(error)
                    ) from error
                # urllib follows redirects by itself until they go in circles.
                reason = "sends on in circles" if error.code < 400 else f"answers {error.code} {error.reason}"
                raise AddressError(f"{self.url}: {_one_line(reason)}") from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                reason = f"its certificate is not valid ({error.reason.verify_message})"
                raise AddressError(f"{self.url}: {reason}") from error
            raise _PassingError(_reason(error.reason)) from error
        except (OSError, http.client.HTTPException) as error:
            raise _PassingError(_reason(error)) from error

    def _placed(self, response: Any, have: int, note: _Note | None) -> tuple[int, int | None]:
        """(where the answer begins, bytes of the whole file)."""
        if response.status != 206:
            return 0, _length(response)
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        total = int(found[3]) if found and found[3] != "*" else None
        # The same length, and where the server tells one the same tag: else it is another file than what is there.
        tagged = note is not None and note.validator and _validator(response) not in (None, note.validator)
        if found is None or int(found[1]) != have or note is None or total != note.total or tagged:
            self.discard()
            raise _PassingError("changed its file meanwhile, or sends another part than asked for")
        return have, total

    def _copy(self, response: Any, file: FileIO, start: int, limit: int | None) -> int:
        there = start
        while True:
            try:
                # read1: what has come, so that a slow connection is seen to move.
                block = response.read1(_PIECE)
            except (OSError, http.client.HTTPException) as error:
                raise _PassingError(_reason(error)) from error
            if not block:
                return there
            there += len(block)
            if limit is not None and there > limit:
                self.discard()
                raise AddressError(f"{self.url}: sends more than the {limit} bytes of the file: it is another one")
            if there > _LARGEST:
                self.discard()
                raise AddressError(f"{self.url}: sends more than {readable_size(_LARGEST)}: that is no file of weights")
            try:
                rest = memoryview(block)
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError as error:
                raise self._unwritable(error) from error
            self._hearing.have(there)

    # ------------------------------------------------------------------ the part on disk

    def _usable(self) -> int:
        """Bytes of the part that can be gone on with; a part of another address or of unknown origin counts as none."""
        note, have = self._read_note(), self._size()
        if note is None or note.url != self.url:
            return 0
        if not note.validator and (note.total is None or not self._hash_known):
            return 0
        return have if note.total is None or have <= note.total else 0

    def _size(self) -> int:
        try:
            return self.part.stat().st_size
        except OSError:
            return 0

    def _read_note(self) -> _Note | None:
        try:
            return _Note(**json.loads(self.note_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _opened(self, start: int, note: _Note) -> FileIO:
        file: FileIO | None = None
        try:
            # The file first: a note must never stand beside bytes that it does not speak of. Unbuffered: a full disk
            # shows where it is written, not once more where the file is closed.
            file = self.part.open("ab" if start else "wb", buffering=0)
            self.note_file.write_text(json.dumps(asdict(note)) + "\n", encoding="utf-8")
        except OSError as error:
            if file is not None:
                file.close()
            raise self._unwritable(error) from error
        return file

    def _make_folder(self) -> None:
        try:
            self.part.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def _check_space(self, start: int, total: int | None, believed: bool) -> None:
        """The part, and the copy of it that the store makes afterwards.

        ``believed``: the length is the published one. Where only the server says it, the server may be wrong.
        """
        free = shutil.disk_usage(self.part.parent).free
        if total is None or 2 * total - start <= free:
            return
        needed = readable_size(2 * total - start)
        reason = (
            f"{self.part.parent}: has {readable_size(free)} free, and {needed} are needed (the file, and what is kept "
            "of it): make room, or set RETALKIT_HOME to another folder"
        )
        if not believed:
            raise AddressError(f"{self.url}: says that the file has {readable_size(total)}; {reason}")
        raise FolderError(reason)

    def _unwritable(self, error: OSError) -> FolderError:
        what = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or str(error)
        return FolderError(
            f"{self.part}: cannot be written ({what}): make room, or set RETALKIT_HOME to another folder"
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from https to http: whoever listens could send another file."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after != "https" and (before == "https" or after != "http"):
            raise AddressError(f"{req.full_url}: sends on to {newurl}, which is not followed: it is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Made anew each time: it reads the proxies of the environment."""
    return urllib.request.build_opener(_Redirects)


def _length(response: Any) -> int | None:
    text = str(response.headers.get("Content-Length", ""))
    return int(text) if text.isdecimal() else None


def _validator(response: Any) -> str | None:
    tag = response.headers.get("ETag")
    # A weak tag does not promise the same bytes.
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _retry_after(error: urllib.error.HTTPError) -> float | None:
    text = (error.headers.get("Retry-After") or "").strip()
    return float(text) if text.isdecimal() else None


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "sends nothing any more"
    if isinstance(error, socket.gaierror):
        return f"its name is not known ({error.strerror})"
    if isinstance(error, http.client.HTTPException):
        return f"cut the connection, or does not speak http ({type(error).__name__})"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (
        f"cannot be reached ({text})" if isinstance(error, ConnectionRefusedError) else f"cut the connection ({text})"
    )
