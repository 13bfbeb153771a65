"""Download, verification and storage of a published checkpoint."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from retalkit.errors import WeightsError
from retalkit.observer import Observer
from retalkit.weights.checkpoint import Checkpoint
from retalkit.weights.describe import format_size, manual_import
from retalkit.weights.download import Download, ProgressCallbacks, RetryPolicy
from retalkit.weights.locks import BusyError, FolderError, exclusive_lock
from retalkit.weights.sources import Address, addresses, extract_member, offline
from retalkit.weights.store import WeightStore, check_readable, home, needs_pin

_MEGABYTE = 1_000_000


def pull(
    checkpoint: Checkpoint,
    store: WeightStore,
    observer: Observer,
    *,
    accept: bool = False,
    retry: RetryPolicy | None = None,
) -> Path:
    """Download the published file from the first URL that provides the file, verify the file and add it to the store.

    ``accept``: see ``WeightStore.add``. The downloaded file is deleted after it is stored or rejected. An interrupted
    download remains in ``RETALKIT_HOME/downloads``, and the next call resumes the download.

    Raises:
        WeightsError: the checkpoint cannot be downloaded or verified.
        FolderError: a directory is not writable or the disk is full.
        BusyError: another process is downloading the file.
    """
    check_online(checkpoint)
    check_readable(checkpoint)
    candidates = addresses(checkpoint)
    if not candidates:
        raise WeightsError(
            f"{checkpoint.name}: no URL is known for {checkpoint.file}; obtain the file from its publisher and run "
            f"`retalkit weights import {checkpoint.file} --as {checkpoint.name}`",
            code="no-download-url",
        )
    errors: list[WeightsError] = []
    for address in candidates:
        try:
            busy = f"{address.file} is being downloaded by another process; run the command again after the download"
            with exclusive_lock(home(), address.file, busy):
                return _pull_from(address, checkpoint, store, observer, accept, retry)
        except (FolderError, BusyError):
            raise
        except WeightsError as error:
            errors.append(error)
            if address != candidates[-1]:
                observer.note(f"{error}; trying the next URL")
    reasons = "; ".join(str(error) for error in errors)
    raise WeightsError(
        f"{checkpoint.name} was not downloaded: {reasons}; {manual_import(checkpoint)}",
        code=common_code(errors, "download-failed"),
    )


def common_code(errors: list[WeightsError], default: str) -> str:
    """Return the common code of all errors, or ``default`` if the codes differ."""
    codes = {error.code for error in errors}
    return codes.pop() if len(codes) == 1 else default


def check_online(checkpoint: Checkpoint) -> None:
    """Raise WeightsError if ``RETALKIT_OFFLINE`` disables downloads."""
    if offline():
        raise WeightsError(
            f"RETALKIT_OFFLINE is set, so {checkpoint.name} was not downloaded; {manual_import(checkpoint)}",
            code="offline",
        )


def _pull_from(
    address: Address,
    checkpoint: Checkpoint,
    store: WeightStore,
    observer: Observer,
    accept: bool,
    retry: RetryPolicy | None,
) -> Path:
    folder = home() / "downloads"
    whole = folder / address.file
    part = whole.with_name(f"{whole.name}.part")
    observer.note(f"{checkpoint.name}: {address.url}")
    with _report_progress(observer, checkpoint.name) as progress:
        hash_known = not needs_pin(checkpoint) or store.pinned_hash(checkpoint.name) is not None
        download = Download(address.url, part, progress, retry, hash_known=hash_known)
        if whole.is_file() and not part.exists():
            # An earlier process was killed after it completed the download and before it stored the file.
            _rename(whole, part)
        try:
            download.run(None if address.member else checkpoint.size)
        except FolderError:
            raise
        except WeightsError:
            if not part.exists() or part.stat().st_size == 0:
                download.discard()
            raise
    _rename(part, whole)
    try:
        added = _add(whole, address, checkpoint, store, accept)
    except (FolderError, BusyError):
        # The downloaded file is valid. The next call adds the file to the store without another download.
        _rename(whole, part)
        raise
    except WeightsError as error:
        _remove(whole, download)
        reason = str(error).replace(f"{whole.parent}/", "").removeprefix(f"{checkpoint.file}: ")
        raise WeightsError(f"{address.url}: {reason}; download removed", code=error.code) from error
    except Exception:
        # An unreadable file would also cause the next call to fail.
        _remove(whole, download)
        raise
    _remove(whole, download)
    return added


def _add(whole: Path, address: Address, checkpoint: Checkpoint, store: WeightStore, accept: bool) -> Path:
    if not address.member:
        return store.add(checkpoint, whole, accept=accept)
    with extract_member(whole, address.member, checkpoint, whole.parent) as file:
        return store.add(checkpoint, file, accept=accept)


def _remove(whole: Path, download: Download) -> None:
    download.discard()
    whole.unlink(missing_ok=True)


@contextmanager
def _report_progress(observer: Observer, name: str) -> Generator[ProgressCallbacks]:
    """Report a download as one observer step. The step's total is the number of megabytes that remain when the download
    starts."""
    step = f"download {name}"
    began = time.monotonic()
    first: list[int] = []

    def begin(on_disk: int, total: int | None) -> None:
        if first:
            return
        first.append(on_disk)
        if on_disk:
            whole = f" of {format_size(total)}" if total is not None else ""
            observer.note(f"{name}: resuming at {format_size(on_disk)}{whole}")
        observer.started(step, None if total is None else max(1, (total - on_disk) // _MEGABYTE))

    def advance(on_disk: int) -> None:
        observer.advanced(step, max(0, on_disk - first[0]) // _MEGABYTE)

    yield ProgressCallbacks(begin, advance, observer.note)
    if first:
        observer.finished(step, time.monotonic() - began, False)


def _rename(source: Path, target: Path) -> None:
    try:
        source.replace(target)
    except OSError as error:
        raise FolderError(
            f"{target}: the file is not writable ({error.strerror or error})", code="folder-not-writable"
        ) from error
