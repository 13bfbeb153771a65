"""Preparation of a dataset from videos. A repeated call computes only what is missing."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout
from retalkit.errors import InputError, OutputError
from retalkit.observer import Observer, SilentObserver
from retalkit_training.datasets.extraction import Extractor, VideoResult, limit_threads, read_result, result_path
from retalkit_training.datasets.index import FILE, DatasetIndex, VideoEntry, read_index
from retalkit_training.datasets.layouts import SourceVideo
from retalkit_training.datasets.settings import PrepareSettings, SplitSettings
from retalkit_training.datasets.shards import LabelledClip, loose_path, pack, remove_unreferenced
from retalkit_training.datasets.splits import assign_splits

STEP: Final = "videos"
LOCK: Final = ".lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareReport:
    """Outcome of ``prepare``."""

    index: DatasetIndex
    computed: int
    """Number of videos that this call processed."""
    reused: int
    """Number of videos whose clips existed before."""
    unrestored: str = ""
    """Reason for which the 384-pixel faces are not restored, or an empty string."""


@dataclass(frozen=True, slots=True)
class _Video:
    source: SourceVideo
    key: str


def prepare(
    sources: Sequence[SourceVideo],
    folder: Path,
    settings: PrepareSettings | None = None,
    splits: SplitSettings | None = None,
    *,
    jobs: int = 1,
    observer: Observer | None = None,
) -> PrepareReport:
    """Extract the clips of all videos into the dataset ``folder`` and pack them into shards.

    Videos that an earlier call prepared stay in the dataset. ``jobs``: number of processes.

    Raises:
        InputError: no video has a usable clip, or the dataset was prepared with other settings.
        OutputError: the directory cannot be written, or another process is preparing the dataset.
        PlanError: a stage cannot run on this machine.
    """
    settings, splits = settings or PrepareSettings(), splits or SplitSettings()
    observer = observer or SilentObserver()
    if folder.is_dir() and not any((folder / name).exists() for name in (FILE, LOCK)) and any(folder.iterdir()):
        raise OutputError(
            f"{folder}: the directory is not empty and contains no dataset; choose another directory",
            code="output-exists",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0)
        lock.acquire()
    except Timeout as error:
        message = f"{folder}: another process is preparing this dataset; wait until it has finished"
        raise OutputError(message, code="dataset-in-use") from error
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        return _prepare(sources, folder, settings, splits, jobs, observer)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        lock.release()


def _prepare(
    sources: Sequence[SourceVideo],
    folder: Path,
    settings: PrepareSettings,
    splits: SplitSettings,
    jobs: int,
    observer: Observer,
) -> PrepareReport:
    extractor = Extractor(settings)
    former = read_index(folder) if (folder / FILE).is_file() else None
    plain = {"clips": settings.model_dump(mode="json"), "splits": splits.model_dump(mode="json")}
    _check_settings(folder, former, plain, sources)
    videos = [_Video(source, extractor.key(source)) for source in sources]
    stored = {clip.key: clip for clip in former.clips} if former is not None else {}
    shards = (
        {shard.name for shard in former.shards if (folder / "shards" / shard.name).is_file()} if former else set[str]()
    )
    present = {key for key, clip in stored.items() if clip.shard in shards}

    results: dict[str, VideoResult] = {}
    missing: dict[str, SourceVideo] = {}
    for video in videos:
        result = read_result(folder, video.key)
        if result is not None and all(key in present or loose_path(folder, key).is_file() for key in result.clips):
            results[video.key] = result
        else:
            missing.setdefault(video.key, video.source)
    reused = len(results)
    started = time.monotonic()
    observer.started(STEP, len(missing))
    for done, result in enumerate(_extracted(extractor, missing, folder, jobs), 1):
        results[result.key] = result
        observer.advanced(STEP, done)
        if result.error:
            observer.note(result.error)
    observer.finished(STEP, time.monotonic() - started, not missing)

    index = _build_index(folder, videos, results, former, splits, plain, extractor)
    index.write(folder)
    remove_unreferenced(folder, index)
    _remove_old_results(folder, index)
    if not index.clips:
        given = {str(source.path) for source in sources}
        reasons = [video.error for video in index.videos if video.error and video.path in given]
        parts = [part["reason"] for video in index.videos for part in video.rejected]
        detail = reasons[0] if reasons else f"{len(parts)} parts were left out: {', '.join(sorted(set(parts)))}"
        raise InputError(f"{folder}: no video has a usable clip ({detail})", code="no-clips")
    return PrepareReport(index=index, computed=len(missing), reused=reused, unrestored=extractor.edits.unrestored)


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{folder}: cannot be written ({error.strerror or error}); free disk space and run the same command again, or "
        "choose another directory",
        code="unwritable-output",
    )


def _check_settings(
    folder: Path, former: DatasetIndex | None, plain: Mapping[str, Any], sources: Sequence[SourceVideo]
) -> None:
    if former is None or former.settings.get("clips") == plain["clips"]:
        return
    given = {str(source.path) for source in sources}
    absent = [video.path for video in former.videos if video.path not in given]
    if absent:
        raise InputError(
            f"{folder}: was prepared with other settings from videos that are not given now, such as {absent[0]}; "
            "pass all videos, or choose another directory",
            code="other-settings",
        )


def _extracted(
    extractor: Extractor, missing: Mapping[str, SourceVideo], folder: Path, jobs: int
) -> Iterator[VideoResult]:
    if jobs <= 1 or len(missing) <= 1:
        for key, source in missing.items():
            yield extractor.extract(source, folder, key)
        return
    # Forked processes would inherit the locks and threads of decoders and networks.
    context = multiprocessing.get_context("spawn")
    workers = min(jobs, len(missing))
    before = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=(extractor.settings,)) as pool:
        waiting = [pool.submit(_extract, source, folder, key) for key, source in missing.items()]
        try:
            for future in as_completed(waiting):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in set(multiprocessing.active_children()) - before:
                worker.terminate()
            raise


def _stop_worker(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


_extractor: Extractor | None = None
"""Extractor of this worker process."""


def _start(settings: PrepareSettings) -> None:
    global _extractor
    # Ctrl-C reaches all processes of a terminal. The main process stops the workers, which then remove their files.
    for name in ("SIGINT", "SIGHUP"):
        if (number := getattr(signal, name, None)) is not None:
            signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop_worker)
    limit_threads()
    _extractor = Extractor(settings)


def _extract(source: SourceVideo, folder: Path, key: str) -> VideoResult:
    assert _extractor is not None
    return _extractor.extract(source, folder, key)


def _build_index(
    folder: Path,
    videos: Sequence[_Video],
    results: Mapping[str, VideoResult],
    former: DatasetIndex | None,
    splits: SplitSettings,
    plain: dict[str, Any],
    extractor: Extractor,
) -> DatasetIndex:
    entries: dict[str, VideoEntry] = {video.path: video for video in former.videos} if former is not None else {}
    holder: dict[str, str] = {}
    for path, entry in entries.items():
        if not entry.duplicate_of:
            holder.setdefault(entry.key, path)
    for video in videos:
        result, path = results[video.key], str(video.source.path)
        first = holder.setdefault(video.key, path)
        entries[path] = VideoEntry(
            key=video.key,
            path=path,
            speaker=video.source.speaker,
            video=video.source.video,
            split="",
            clips=tuple(result.clips) if first == path else (),
            rejected=tuple(result.rejected) if first == path else (),
            facts=result.facts,
            error=result.error,
            duplicate_of="" if first == path else first,
        )
    frames = {key: count for result in results.values() for key, count in result.clips.items()}
    stored = {clip.key: clip for clip in former.clips} if former is not None else {}
    frames |= {key: clip.frames for key, clip in stored.items() if key not in frames}
    used = [entry for entry in entries.values() if entry.clips]
    assigned = assign_splits([(entry.speaker, entry.video) for entry in used], splits)
    split_of = {entry.path: split for entry, split in zip(used, assigned, strict=True)}
    final = tuple(replace(entry, split=split_of.get(entry.path, "")) for entry in entries.values())
    labelled = [
        LabelledClip(key, video.split, video.speaker, video.video, video.path, frames[key])
        for video in final
        for key in video.clips
    ]
    clips, shards = pack(folder, labelled, splits, stored)
    return DatasetIndex(
        videos=final,
        clips=clips,
        shards=shards,
        settings=plain,
        coefficients=extractor.coefficients,
        without_coefficients=extractor.without_coefficients,
        references=extractor.edits.references,
        restoration=extractor.edits.restoration,
    )


def _remove_old_results(folder: Path, index: DatasetIndex) -> None:
    """Remove the stored results of videos that are no longer in the dataset."""
    kept = {video.key for video in index.videos}
    for path in result_path(folder, "any").parent.glob("*.json"):
        if path.stem not in kept:
            path.unlink()
