"""A checkpoint from where it was published into the store: mirrors, download, checks, and nothing left behind."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from retalkit.errors import WeightsError
from retalkit.observer import Observer
from retalkit.weights.checkpoint import Checkpoint
from retalkit.weights.describe import readable_size
from retalkit.weights.download import Download, Hearing, Patience
from retalkit.weights.locks import BusyError, FolderError, alone
from retalkit.weights.sources import Address, addresses, offline, taken_out
from retalkit.weights.store import WeightStore, check_readable, home, needs_pin

_MEGABYTE = 1_000_000


def pull(
    checkpoint: Checkpoint,
    store: WeightStore,
    observer: Observer,
    *,
    accept: bool = False,
    patience: Patience | None = None,
) -> Path:
    """Downloads the published file from the first address that gives it, checks it and keeps it in the store.

    ``accept``: see ``WeightStore.add``. What was downloaded goes when it is in the store or is not the file; a download
    that was cut stays in ``RETALKIT_HOME/downloads``, and the next call goes on with it. Raises WeightsError,
    FolderError where the disk is at fault, BusyError where another call downloads the same file.
    """
    check_online(checkpoint)
    check_readable(checkpoint)
    places = addresses(checkpoint)
    if not places:
        raise WeightsError(
            f"{checkpoint.name}: no address of {checkpoint.file} is known: get it from its publisher, then run "
            f"`retalkit weights import {checkpoint.file} --as {checkpoint.name}`"
        )
    reasons: list[str] = []
    for place in places:
        try:
            busy = f"{place.file} is being downloaded by another process: give the command again when it has ended"
            with alone(home(), place.file, busy):
                return _pull_from(place, checkpoint, store, observer, accept, patience)
        except (FolderError, BusyError):
            raise
        except WeightsError as error:
            reasons.append(str(error))
            if place != places[-1]:
                observer.note(f"{error}; the next address is tried")
    raise WeightsError(
        f"{checkpoint.name} was not downloaded: {'; '.join(reasons)}; without a network: `retalkit weights import "
        f"{checkpoint.file} --as {checkpoint.name}`"
    )


def check_online(checkpoint: Checkpoint) -> None:
    """Raises WeightsError where downloads are forbidden."""
    if offline():
        raise WeightsError(
            f"RETALKIT_OFFLINE is set, so {checkpoint.name} is not downloaded: bring {checkpoint.file} here and run "
            f"`retalkit weights import {checkpoint.file} --as {checkpoint.name}`"
        )


def _pull_from(
    place: Address,
    checkpoint: Checkpoint,
    store: WeightStore,
    observer: Observer,
    accept: bool,
    patience: Patience | None,
) -> Path:
    folder = home() / "downloads"
    whole = folder / place.file
    part = whole.with_name(f"{whole.name}.part")
    observer.note(f"{checkpoint.name}: {place.url}")
    with _told(observer, checkpoint.name) as hearing:
        hash_known = not needs_pin(checkpoint) or store.pinned(checkpoint.name) is not None
        download = Download(place.url, part, hearing, patience, hash_known=hash_known)
        if whole.is_file() and not part.exists():
            # Killed between the download and the store.
            _rename(whole, part)
        try:
            download.run(None if place.member else checkpoint.size)
        except FolderError:
            raise
        except WeightsError:
            if not part.exists() or part.stat().st_size == 0:
                download.discard()
            raise
    _rename(part, whole)
    try:
        kept = _keep(whole, place, checkpoint, store, accept)
    except (FolderError, BusyError):
        # The file is good: with room on the disk the next call takes it.
        _rename(whole, part)
        raise
    except WeightsError as error:
        _remove(whole, download)
        reason = str(error).replace(f"{whole.parent}/", "").removeprefix(f"{checkpoint.file}: ")
        raise WeightsError(f"{place.url}: {reason}; what came was deleted") from error
    except Exception:
        # Whatever it is that cannot be read: the next call must not meet it again.
        _remove(whole, download)
        raise
    _remove(whole, download)
    return kept


def _keep(whole: Path, place: Address, checkpoint: Checkpoint, store: WeightStore, accept: bool) -> Path:
    if not place.member:
        return store.add(checkpoint, whole, accept=accept)
    with taken_out(whole, place.member, checkpoint, whole.parent) as file:
        return store.add(checkpoint, file, accept=accept)


def _remove(whole: Path, download: Download) -> None:
    download.discard()
    whole.unlink(missing_ok=True)


@contextmanager
def _told(observer: Observer, name: str) -> Generator[Hearing]:
    """A step of the observer, in megabytes of what is still to come."""
    step = f"download {name}"
    began = time.monotonic()
    first: list[int] = []

    def begin(there: int, total: int | None) -> None:
        if first:
            return
        first.append(there)
        if there:
            whole = f" of {readable_size(total)}" if total is not None else ""
            observer.note(f"{name}: goes on at {readable_size(there)}{whole}")
        observer.started(step, None if total is None else max(1, (total - there) // _MEGABYTE))

    def have(there: int) -> None:
        observer.advanced(step, max(0, there - first[0]) // _MEGABYTE)

    yield Hearing(begin, have, observer.note)
    if first:
        observer.finished(step, time.monotonic() - began, False)


def _rename(source: Path, target: Path) -> None:
    try:
        source.replace(target)
    except OSError as error:
        raise FolderError(f"{target}: cannot be written ({error.strerror or error})") from error
