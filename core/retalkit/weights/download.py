"""HTTP(S) download of one file with retries, resume support and size checks.

No other Retalkit module opens network connections. The module reads proxy settings from the environment
(``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY``, ``NO_PROXY``) and uses the system's certificate store.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path

import httpx

from retalkit._version import __version__
from retalkit.errors import WeightsError
from retalkit.weights.describe import format_size
from retalkit.weights.locks import FolderError

_RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP status codes for which the request is retried."""
_NO_NETWORK = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ECONNREFUSED})
_CONNECT_SECONDS = 10.0
_MAX_REDIRECTS = 10
_MAX_WAIT = 60.0
_MAX_BYTES = 20_000_000_000
"""Download size limit in bytes, larger than any checkpoint. The limit prevents a server from filling the disk when the
file size is unknown.
"""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Timeout and retry limits for a download."""

    stall_seconds: float = 30.0
    """Timeout in seconds for connections and read operations."""
    attempts: int = 5
    """Maximum number of consecutive attempts without new data for one URL."""
    first_wait: float = 1.0
    """Delay in seconds before the second attempt. The delay doubles with each further attempt."""


@dataclass(frozen=True, slots=True)
class ProgressCallbacks:
    """Callbacks that receive the progress of a download."""

    begin: Callable[[int, int | None], None]
    """Callback that receives the number of bytes on disk and the file size (or None). It is called once per
    response."""
    advance: Callable[[int], None]
    """Callback that receives the number of bytes on disk."""
    note: Callable[[str], None]
    """Callback that receives user messages, such as the reason for a retry."""


class AddressError(WeightsError):
    """Error raised if a URL does not provide the file. A retry with a different URL may succeed."""

    code = "download-failed"


class TransientError(Exception):
    """Temporary error. A retry may succeed."""

    def __init__(self, reason: str, wait: float | None = None, *, no_network: bool = False) -> None:
        super().__init__(reason)
        self.wait = wait
        self.no_network = no_network
        """Whether the network cannot be reached at all. Such an error is retried only after some data was received."""


@dataclass(frozen=True, slots=True)
class _PartRecord:
    """Record of a partial file's origin, stored next to the file. A partial file without a record is discarded."""

    url: str
    validator: str | None
    """Strong ETag or Last-Modified date for the If-Range header."""
    total: int | None


class Download:
    """Download from one URL to the file ``part``. The partial file of an interrupted download is kept, and the next run
    resumes the download."""

    def __init__(
        self,
        url: str,
        part: Path,
        progress: ProgressCallbacks,
        retry: RetryPolicy | None = None,
        *,
        hash_known: bool = True,
    ) -> None:
        """Initialise the download.

        ``hash_known``: whether the caller compares the complete file with a known SHA-256. If False, a partial file is
        resumed only if the server confirms by ETag or date that the file has not changed. An equal file size is not
        sufficient.
        """
        self._hash_known = hash_known
        self.url = url
        self.part = part
        self.record_file = part.with_name(f"{part.name}.json")
        self._progress = progress
        self._retry = retry or RetryPolicy()

    def run(self, size: int | None = None) -> None:
        """Download until ``part`` is complete. ``size``: expected file size in bytes, if known.

        Raises:
            AddressError: the URL does not provide the file.
            FolderError: the file cannot be written.
        """
        self._make_folder()
        before = self._resumable()
        furthest, idle = before, 0
        with self._client() as client:
            while True:
                try:
                    self._attempt(client, size)
                    return
                except TransientError as error:
                    on_disk = self._resumable()
                    idle = 0 if on_disk > furthest else idle + 1
                    furthest = max(furthest, on_disk)
                    if error.no_network and furthest == before:
                        raise AddressError(
                            f"{self.url}: {error}; check the network connection", code="download-failed"
                        ) from error
                    if idle >= self._retry.attempts:
                        raise AddressError(
                            f"{self.url}: {error} ({idle} consecutive attempts)", code="download-failed"
                        ) from error
                    wait = min(error.wait or self._retry.first_wait * 2.0 ** max(0, idle - 1), _MAX_WAIT)
                    resume = f", resuming at {format_size(on_disk)}" if on_disk else ""
                    self._progress.note(f"{self.url}: {error}; retrying in {wait:.0f} s{resume}")
                    time.sleep(wait)

    def discard(self) -> None:
        """Delete the partial file and its record."""
        for file in (self.part, self.record_file):
            with suppress(OSError):
                file.unlink(missing_ok=True)

    # ------------------------------------------------------------------ HTTP

    def _client(self) -> httpx.Client:
        try:
            return httpx.Client(
                timeout=httpx.Timeout(
                    self._retry.stall_seconds, connect=min(_CONNECT_SECONDS, self._retry.stall_seconds)
                ),
                # Byte ranges and sizes do not apply to a compressed response body.
                headers={"User-Agent": f"retalkit/{__version__}", "Accept-Encoding": "identity"},
                verify=ssl.create_default_context(),
            )
        except (ImportError, ValueError) as error:
            raise AddressError(
                f"{self.url}: the proxy settings in the environment are invalid ({_one_line(error)})",
                code="invalid-proxy",
            ) from error

    def _attempt(self, client: httpx.Client, size: int | None) -> None:
        on_disk, record = self._resumable(), self._read_record()
        headers: dict[str, str] = {}
        if on_disk and record is not None:
            if record.total == on_disk:
                return
            headers["Range"] = f"bytes={on_disk}-"
            if record.validator:
                headers["If-Range"] = record.validator
        with closing(self._send(client, headers)) as response:
            start, total = self._body_range(response, on_disk, record)
            if size is not None and total is not None and total != size:
                raise AddressError(
                    f"{self.url}: size mismatch: expected {size} bytes, got {total}", code="size-mismatch"
                )
            self._check_space(start, total, size is not None)
            limit = size if total is None else total
            with self._open_part(start, _PartRecord(self.url, _validator(response), total)) as file:
                self._progress.begin(start, limit)
                written = self._write_body(response, file, start, limit)
        if limit is not None and written < limit:
            raise TransientError(f"connection closed after {written} of {limit} bytes")

    def _send(self, client: httpx.Client, headers: dict[str, str]) -> httpx.Response:
        """Send the request, follow redirects and return the response with an unread body.

        Raises:
            TransientError: the request failed with a temporary error.
            AddressError: the request failed with any other error.
        """
        try:
            request = client.build_request("GET", self.url, headers=headers)
            for _ in range(_MAX_REDIRECTS + 1):
                response = client.send(request, stream=True)
                if response.next_request is None:
                    break
                response.close()
                _check_redirect(request.url, response.next_request.url)
                request = response.next_request
            else:
                raise AddressError(f"{self.url}: too many redirects", code="too-many-redirects")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._network_error(error) from error
        if not response.is_success:
            with closing(response):
                raise self._status_error(response)
        return response

    def _status_error(self, response: httpx.Response) -> Exception:
        reason = _one_line(f"HTTP {response.status_code} {response.reason_phrase}")
        if response.status_code == 416:
            self.discard()
            return TransientError(f"{reason}: the server does not provide the remaining bytes")
        if response.status_code in _RETRY_STATUS:
            return TransientError(reason, _retry_after(response))
        return AddressError(f"{self.url}: {reason}", code="http-error")

    def _network_error(self, error: Exception) -> Exception:
        """Convert an httpx exception to a TransientError or an AddressError."""
        if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
            return AddressError(f"{self.url}: not an HTTP(S) URL", code="invalid-url")
        if isinstance(error, httpx.ConnectTimeout):
            return TransientError("no connection: the server does not answer", no_network=True)
        if isinstance(error, httpx.TimeoutException):
            return TransientError(f"no data received for {self._retry.stall_seconds:g} s")
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                return AddressError(
                    f"{self.url}: invalid certificate ({cause.verify_message})", code="invalid-certificate"
                )
            if isinstance(cause, socket.gaierror):
                return TransientError(f"unknown host name ({cause.strerror})", no_network=True)
        detail = next((c.strerror for c in _causes(error) if isinstance(c, OSError) and c.strerror), _one_line(error))
        if isinstance(error, httpx.ProxyError):
            return TransientError(f"proxy error ({detail})")
        if isinstance(error, httpx.ConnectError):
            refused = any(isinstance(cause, OSError) and cause.errno in _NO_NETWORK for cause in _causes(error))
            return TransientError(f"cannot connect ({detail})", no_network=refused)
        if isinstance(error, httpx.ProtocolError):
            return TransientError(f"connection closed or invalid HTTP response ({detail})")
        return TransientError(f"connection lost ({detail})")

    def _body_range(self, response: httpx.Response, on_disk: int, record: _PartRecord | None) -> tuple[int, int | None]:
        """Return the body's offset in the file and the file size if known."""
        if response.status_code != 206:
            return 0, _content_length(response)
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        total = int(match[3]) if match and match[3] != "*" else None
        # The size and, if the server sends a validator, the validator must be unchanged. Otherwise the file on the
        # server has changed.
        changed = record is not None and record.validator and _validator(response) not in (None, record.validator)
        if match is None or int(match[1]) != on_disk or record is None or total != record.total or changed:
            self.discard()
            raise TransientError("the file on the server has changed, or the server returned the wrong byte range")
        return on_disk, total

    def _write_body(self, response: httpx.Response, file: FileIO, start: int, limit: int | None) -> int:
        """Write the body to ``file`` and return the resulting number of bytes on disk."""
        written = start
        for block in self._blocks(response, limit is not None):
            written += len(block)
            if limit is not None and written > limit:
                self.discard()
                raise AddressError(f"{self.url}: size mismatch: expected {limit} bytes, got more", code="size-mismatch")
            if written > _MAX_BYTES:
                self.discard()
                raise AddressError(
                    f"{self.url}: the file exceeds the limit of {format_size(_MAX_BYTES)}", code="download-too-large"
                )
            try:
                rest = memoryview(block)
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError as error:
                raise self._not_writable(error) from error
            self._progress.advance(written)
        return written

    def _blocks(self, response: httpx.Response, length_known: bool) -> Iterator[bytes]:
        """Yield the body in blocks as they are received.

        If the body length is known, a truncated body ends the iteration without an error.
        """
        try:
            yield from response.iter_raw()
        except httpx.HTTPError as error:
            if not (length_known and isinstance(error, httpx.RemoteProtocolError)):
                raise self._network_error(error) from error

    # ------------------------------------------------------------------ partial file

    def _resumable(self) -> int:
        """Return the number of resumable bytes in the partial file.

        The number is 0 if the partial file was downloaded from another URL or has an unknown origin.
        """
        record, on_disk = self._read_record(), self._part_size()
        if record is None or record.url != self.url:
            return 0
        if not record.validator and (record.total is None or not self._hash_known):
            return 0
        return on_disk if record.total is None or on_disk <= record.total else 0

    def _part_size(self) -> int:
        try:
            return self.part.stat().st_size
        except OSError:
            return 0

    def _read_record(self) -> _PartRecord | None:
        try:
            return _PartRecord(**json.loads(self.record_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _open_part(self, start: int, record: _PartRecord) -> FileIO:
        file: FileIO | None = None
        try:
            # The data file is opened first because a record must never describe the bytes of an older download. The
            # file is unbuffered, so write() reports a full disk and close() does not report the error a second time.
            file = self.part.open("ab" if start else "wb", buffering=0)
            self.record_file.write_text(json.dumps(asdict(record)) + "\n", encoding="utf-8")
        except OSError as error:
            if file is not None:
                file.close()
            raise self._not_writable(error) from error
        return file

    def _make_folder(self) -> None:
        try:
            self.part.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._not_writable(error) from error

    def _check_space(self, start: int, total: int | None, size_published: bool) -> None:
        """Raise an error unless the disk has enough space for the remaining download and for the copy in the store.

        Raises:
            AddressError: the disk has too little space for the size that the server reports, which may be incorrect.
            FolderError: the disk has too little space for the published file size.
        """
        free = shutil.disk_usage(self.part.parent).free
        if total is None or 2 * total - start <= free:
            return
        reason = (
            f"{self.part.parent}: not enough disk space: {format_size(2 * total - start)} required (the download and "
            f"its copy in the store), {format_size(free)} free; free disk space or set RETALKIT_HOME to a different  "
            "directory"
        )
        if not size_published:
            raise AddressError(
                f"{self.url}: the server reports a size of {format_size(total)}; {reason}", code="not-enough-space"
            )
        raise FolderError(reason, code="not-enough-space")

    def _not_writable(self, error: OSError) -> FolderError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else error.strerror or str(error)
        return FolderError(
            f"{self.part}: the file is not writable ({reason}); "
            "free disk space or set RETALKIT_HOME to a different directory",
            code="disk-full" if full else "folder-not-writable",
        )


def _check_redirect(source: httpx.URL, target: httpx.URL) -> None:
    """Raise AddressError for a redirect from HTTPS to another protocol.

    Without HTTPS, a third party could replace the file.
    """
    if target.scheme != "https" and (source.scheme == "https" or target.scheme != "http"):
        raise AddressError(
            f"{source}: the redirect to {target} was not followed because the target does not use HTTPS",
            code="insecure-redirect",
        )


def _content_length(response: httpx.Response) -> int | None:
    value = response.headers.get("Content-Length", "")
    return int(value) if value.isdecimal() else None


def _validator(response: httpx.Response) -> str | None:
    tag = response.headers.get("ETag")
    # A weak ETag does not guarantee identical bytes.
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "").strip()
    return float(value) if value.isdecimal() else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception followed by its chain of causes."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _one_line(value: object) -> str:
    return " ".join(str(value).split())
