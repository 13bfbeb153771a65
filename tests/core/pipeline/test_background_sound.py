"""Sound that a thread encodes while frames are rendered."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from retalkit.errors import InputError
from retalkit.media.sound import open_sound
from retalkit.media.sound_encoding import SoundTrack, encode
from retalkit.pipeline import background_sound
from retalkit.pipeline.background_sound import BackgroundSound


def test_packets_are_those_of_the_encoder(short_speech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 1 kB fill the memory limit, so that the thread waits for the reader."""
    monkeypatch.setattr(background_sound, "_CHUNK_BYTES", 1000)
    monkeypatch.setattr(background_sound, "_CHUNKS", 2)
    track = SoundTrack(open_sound(short_speech), 1.5)
    before = threading.active_count()
    sound = BackgroundSound(lambda: track)
    encoded = sound.result()
    assert encoded is not None and encoded.track is track
    packets = [(packet.pts, packet.duration, bytes(packet)) for packet in encoded.packets]
    assert packets == [(packet.pts, packet.duration, bytes(packet)) for packet in encode(track)]
    assert len(packets) > 20
    sound.close()
    assert threading.active_count() == before


def test_errors_reach_the_caller_and_silence_has_no_packets() -> None:
    def fail() -> SoundTrack:
        raise InputError("speech.wav: unreadable", code="unreadable-file")

    sound = BackgroundSound(fail)
    with pytest.raises(InputError, match="unreadable"):
        sound.result()
    sound.close()
    sound = BackgroundSound(lambda: None)
    assert sound.result() is None
    sound.close()


def test_closing_stops_a_waiting_encoder(short_speech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_sound, "_CHUNK_BYTES", 1)
    monkeypatch.setattr(background_sound, "_CHUNKS", 1)
    before = threading.active_count()
    sound = BackgroundSound(lambda: SoundTrack(open_sound(short_speech)))
    sound.close()
    assert threading.active_count() == before
