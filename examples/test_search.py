"""Tests with different costs. Run them with ``python -m pytest --energy examples``; without ``--energy`` they are plain tests."""

import time

import pytest
from search import Classifier, index, look_up, make_points, make_text, scan

WANTED = [f"w{number}" for number in range(0, 200, 10)]


@pytest.fixture(scope="module")
def text():
    return make_text(200_000)


@pytest.fixture(scope="module")
def counts(text):
    return index(text)


@pytest.mark.energy_budget(joules=5)
def test_scan(text, counts):
    """A budget: the test fails when it costs clearly more than 5 J."""
    assert scan(text, WANTED) == [counts[word] for word in WANTED]


def test_index(text):
    assert len(index(text)) == 2000


def test_look_up(counts):
    """A test that is over in microseconds, as most tests are."""
    assert min(look_up(counts, WANTED)) > 50


def test_index_pays_off(text, energy):
    """Regions: which part of a test costs what (in the JSON report, under ``regions``)."""
    with energy.measure("make the index"):
        counts = index(text)
    with energy.measure("use it 1000 times"):
        for _ in range(1000):
            look_up(counts, WANTED)
    assert counts["w0"]


def test_wait():
    """A test that waits costs time, and the power of a machine that does nothing."""
    time.sleep(0.05)


@pytest.fixture(scope="module")
def points():
    return make_points(1200)


@pytest.mark.parametrize("dimensions", [32, 4])
def test_classifier(points, dimensions, energy):
    """Work and score: joules for each prediction beside the accuracy they buy (in the JSON report)."""
    features, labels = points
    classifier = Classifier(features[:200], labels[:200], dimensions)
    right = sum(classifier.predict(point) == label for point, label in zip(features[200:], labels[200:], strict=True))
    energy.work(predictions=1000)
    energy.score(accuracy=right / 1000)
    assert right > 300
