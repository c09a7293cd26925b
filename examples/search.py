"""The code under test: two ways to find words in a text, and a classifier in two precisions. Standard library only."""

from __future__ import annotations

import random


def make_text(words: int) -> list[str]:
    """A reproducible text over 2,000 different words."""
    draw = random.Random(1)
    return [f"w{draw.randrange(2000)}" for _ in range(words)]


def scan(text: list[str], wanted: list[str]) -> list[int]:
    """How often each wanted word occurs: one pass over the text for each."""
    return [text.count(word) for word in wanted]


def index(text: list[str]) -> dict[str, int]:
    """How often every word occurs: one pass over the text."""
    counts: dict[str, int] = {}
    for word in text:
        counts[word] = counts.get(word, 0) + 1
    return counts


def look_up(counts: dict[str, int], wanted: list[str]) -> list[int]:
    """The same as :func:`scan`, with an index that was made before."""
    return [counts.get(word, 0) for word in wanted]


class Classifier:
    """Nearest centroid. ``dimensions`` is how many of the features it looks at: fewer are cheaper and less accurate."""

    def __init__(self, points: list[list[float]], labels: list[int], dimensions: int) -> None:
        self.dimensions = dimensions
        self.centroids: dict[int, list[float]] = {}
        for label in sorted(set(labels)):
            members = [point for point, other in zip(points, labels, strict=True) if other == label]
            self.centroids[label] = [sum(column) / len(members) for column in zip(*members, strict=True)][:dimensions]

    def predict(self, point: list[float]) -> int:
        def distance(label: int) -> float:
            return sum((a - b) ** 2 for a, b in zip(point, self.centroids[label], strict=False))

        return min(self.centroids, key=distance)


def make_points(number: int, features: int = 32, classes: int = 4) -> tuple[list[list[float]], list[int]]:
    """Reproducible points around one centre a class."""
    draw = random.Random(2)
    centres = [[draw.gauss(0, 1) for _ in range(features)] for _ in range(classes)]
    labels = [draw.randrange(classes) for _ in range(number)]
    return [[draw.gauss(value, 2) for value in centres[label]] for label in labels], labels
