"""Two hosts that share one directory: the same cache, and process ids, networks and host names of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HOST = ("unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--mount-proc")


def start_on_host(name: str, folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start ``retalkit`` in namespaces of its own, in which the bind-mounted directory is the working directory."""
    script = 'hostname "$0" && mount --bind "$1" "$2" && cd "$2" && shift 2 && exec "$@"'
    command = ["bash", "-c", script, name, str(folder / "shared"), str(folder / "mount")]
    return subprocess.Popen(
        [*HOST, *command, sys.executable, "-m", "retalkit", *words], stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_two_hosts_share_a_cache(moving_head: Path, short_speech: Path, tmp_path: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run([*HOST, "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces are not available: run this test as root on Linux")
    shared = tmp_path / "shared"
    shared.mkdir()
    (tmp_path / "mount").mkdir()
    shutil.copy(moving_head, shared / "clip.mp4")
    shutil.copy(short_speech, shared / "speech.wav")
    options = ("--cache", "cache", "--set", "provenance.sign=false", "--quiet")

    def localize(host: str) -> subprocess.Popen[str]:
        speeches = ("--speech", "de=speech.wav", "--speech", "fr=speech.wav")
        return start_on_host(
            host, tmp_path, "localize", "clip.mp4", *speeches, "-o", f"{host}/{{language}}.mp4", *options
        )

    # Both hosts also write the same output at the same time.
    dub = ("dub", "clip.mp4", "speech.wav", "-o", "same.mp4", "--force", *options)
    hosts = [
        localize("one"),
        localize("two"),
        start_on_host("one", tmp_path, *dub),
        start_on_host("two", tmp_path, *dub),
    ]
    (*localized, first, second) = [(host.wait(), host.communicate()[1]) for host in hosts]
    assert localized == [(0, "")] * 2
    # The lock of an output holds across hosts. A run that starts after the other one has ended succeeds.
    assert {first[0], second[0]} in ({0}, {0, 2}) and all(
        "same.mp4" in error for code, error in (first, second) if code
    )
    outputs = [shared / "same.mp4", *sorted(shared.glob("*/??.mp4"))]
    assert len(outputs) == 5 and len({path.read_bytes() for path in outputs}) == 1
    workers = {
        job["worker"]
        for path in shared.glob("*/clip-results/results.json")
        for job in json.loads(path.read_text(encoding="utf-8"))["jobs"]
    }
    assert {worker.partition(":")[0] for worker in workers} == {"one", "two"}
    assert not list(shared.rglob("*.partial*"))
