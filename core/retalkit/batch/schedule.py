"""Order in which the nodes of a task graph start. The schedule starts nothing itself, so that it can be simulated."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from retalkit.batch.executor import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Task of a graph, and the nodes that must end before the task starts."""

    key: str
    task: Callable[[], Task]
    """Function that returns the task. It is called when the node starts, because a long list has many payloads."""
    after: Sequence[str] = ()
    """Keys of the nodes on which this node depends."""
    cost: float = 1.0
    """Expected computation time in seconds."""
    group: str = ""
    """Name of the nodes that share intermediate results, such as the jobs of one clip."""


class Schedule:
    """Task graph in progress.

    Groups start in order of their longest chain of costs, longest first, so that no long group starts last. The ready
    nodes of a group start before those of the next group. The jobs of an analysed clip therefore run before another
    clip is analysed, which keeps the intermediate results in the cache small. All operations take logarithmic time.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        """Raises ValueError if a key occurs twice, a dependency is unknown, or the graph contains a cycle."""
        self._nodes: dict[str, Node] = {}
        for node in nodes:
            if node.key in self._nodes:
                raise ValueError(f"duplicate node '{node.key}'")
            self._nodes[node.key] = node
        self._missing = {node.key: len(set(node.after)) for node in self._nodes.values()}
        self._followers: dict[str, list[str]] = {key: [] for key in self._nodes}
        for node in self._nodes.values():
            for key in dict.fromkeys(node.after):
                if key not in self._nodes:
                    raise ValueError(f"node '{node.key}' depends on the unknown node '{key}'")
                self._followers[key].append(node.key)
        self._ranks = self._longest_chains()
        groups: dict[str, float] = {}
        for node in self._nodes.values():
            groups[node.group] = max(groups.get(node.group, 0.0), self._ranks[node.key])
        order = sorted(groups, key=lambda name: -groups[name])
        self._group_order = {name: number for number, name in enumerate(order)}
        # A node that several groups need, such as a shared speech, belongs to the first group that needs it.
        self._order = {node.key: self._group_order[node.group] for node in self._nodes.values()}
        for node in self._nodes.values():
            for key in node.after:
                self._order[key] = min(self._order[key], self._group_order[node.group])
        self._heap: list[tuple[int, float, int, str]] = []
        self._sequence = 0
        self._open = len(self._nodes)
        for key, missing in self._missing.items():
            if not missing:
                self._push(key)

    @property
    def open(self) -> int:
        """Number of nodes that have not ended."""
        return self._open

    @property
    def has_ready(self) -> bool:
        """Whether ``start`` returns a node."""
        return bool(self._heap)

    def start(self) -> Node | None:
        """Remove and return the node that starts next, or None if no node is ready."""
        return self._nodes[heapq.heappop(self._heap)[-1]] if self._heap else None

    def retry(self, node: Node) -> None:
        """Make a started node ready again."""
        self._push(node.key)

    def finish(self, node: Node) -> None:
        """Mark a started node as ended. Nodes that depend on it may become ready."""
        self._open -= 1
        for key in self._followers[node.key]:
            self._missing[key] -= 1
            if not self._missing[key]:
                self._push(key)

    def fail(self, node: Node) -> list[Node]:
        """Mark a started node as failed, and return all nodes that can no longer start because they depend on it."""
        lost: list[Node] = []
        stack = [node.key]
        while stack:
            for key in self._followers[stack.pop()]:
                # Nodes that are already lost have the marker -1.
                if self._missing[key] > 0:
                    self._missing[key] = -1
                    lost.append(self._nodes[key])
                    stack.append(key)
        self._open -= 1 + len(lost)
        return lost

    def _push(self, key: str) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (self._order[key], -self._ranks[key], self._sequence, key))

    def _longest_chains(self) -> dict[str, float]:
        """Return each node's cost plus the largest sum of costs of the nodes that depend on it one after another."""
        left = {key: len(followers) for key, followers in self._followers.items()}
        ranks = dict.fromkeys(self._nodes, 0.0)
        ready = [key for key, count in left.items() if not count]
        done = 0
        while ready:
            key = ready.pop()
            done += 1
            node = self._nodes[key]
            ranks[key] += node.cost
            for earlier in dict.fromkeys(node.after):
                ranks[earlier] = max(ranks[earlier], ranks[key])
                left[earlier] -= 1
                if not left[earlier]:
                    ready.append(earlier)
        if done < len(self._nodes):
            raise ValueError("the graph contains a cycle")
        return ranks
