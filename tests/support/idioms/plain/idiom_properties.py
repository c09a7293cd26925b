"""What goes into the JUnit file."""

import pytest


@pytest.fixture
def with_property(record_property):
    record_property("from", "setup")
    yield
    record_property("from", "teardown")


def test_property(record_property):
    record_property("answer", 42)


def test_fixture_property(with_property, record_property):
    record_property("from", "call")


def test_fails_with_property(record_property):
    record_property("answer", 43)
    raise AssertionError


def test_suite_property(record_testsuite_property):
    record_testsuite_property("suite", 1)


def test_attribute(record_xml_attribute):
    record_xml_attribute("assertions", 3)


def test_output():
    print("system-out")


class TestNames:
    @pytest.mark.parametrize("text", ["with space", "ünï", "a/b::c", ""])
    def test_name(self, text):
        print(text)
