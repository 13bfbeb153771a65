"""Order of a task graph."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from retalkit.batch.executor import Task
from retalkit.batch.schedule import Node, Schedule


def node(key: str, after: Sequence[str] = (), cost: float = 1.0, group: str = "") -> Node:
    return Node(key=key, task=lambda: Task(function="", payload={}), after=after, cost=cost, group=group)


def graph() -> list[Node]:
    """Two clips with two jobs each, and a speech that one job of each clip needs."""
    nodes = [node("speech", cost=0.5, group="speech")]
    for clip, cost in (("short", 1.0), ("long", 9.0)):
        nodes.append(node(f"{clip} analysis", cost=cost, group=clip))
        nodes.append(node(f"{clip} de", [f"{clip} analysis", "speech"], cost=cost, group=clip))
        nodes.append(node(f"{clip} fr", [f"{clip} analysis"], cost=2 * cost, group=clip))
    return nodes


def test_longest_clip_is_first_and_its_jobs_run_before_the_next_clip() -> None:
    schedule = Schedule(graph())
    started: list[str] = []
    while schedule.open:
        chosen = schedule.start()
        assert chosen is not None
        started.append(chosen.key)
        schedule.finish(chosen)
    assert started == ["long analysis", "long fr", "speech", "long de", "short analysis", "short fr", "short de"]


def test_jobs_of_an_analysed_clip_run_before_the_next_analysis() -> None:
    clips = ["a", "b", "c"]
    schedule = Schedule(
        [each for clip in clips for each in (node(clip, group=clip), node(f"{clip} de", [clip], group=clip))]
    )
    started: list[str] = []
    while (chosen := schedule.start()) is not None:
        started.append(chosen.key)
        schedule.finish(chosen)
    assert started == ["a", "a de", "b", "b de", "c", "c de"]


def test_failed_node_loses_its_followers_only() -> None:
    schedule = Schedule([*graph(), node("summary", ["long de", "long fr"], group="long")])
    first = schedule.start()
    assert first is not None and first.key == "long analysis"
    assert {lost.key for lost in schedule.fail(first)} == {"long de", "long fr", "summary"}
    rest: list[str] = []
    while (chosen := schedule.start()) is not None:
        rest.append(chosen.key)
        schedule.finish(chosen)
    assert rest == ["speech", "short analysis", "short fr", "short de"] and schedule.open == 0


def test_retried_node_starts_again_before_other_clips() -> None:
    schedule = Schedule(graph())
    first = schedule.start()
    assert first is not None
    schedule.retry(first)
    assert schedule.start() == first


def test_invalid_graphs() -> None:
    with pytest.raises(ValueError, match="unknown"):
        Schedule([node("a", ["b"])])
    with pytest.raises(ValueError, match="duplicate"):
        Schedule([node("a"), node("a")])
    with pytest.raises(ValueError, match="cycle"):
        Schedule([node("a", ["b"]), node("b", ["a"])])
