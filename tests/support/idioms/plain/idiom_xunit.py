"""Set up and torn down the xunit way."""

calls = []


def setup_module(module):
    module.prepared = True


def teardown_module(module):
    assert module.prepared
    print("teardown_module")


def setup_function(function):
    calls.append(function.__name__)


def teardown_function(function):
    assert calls.pop() == function.__name__


def test_function():
    assert calls == ["test_function"]


class TestMethods:
    @classmethod
    def setup_class(cls):
        cls.shared = []

    @classmethod
    def teardown_class(cls):
        assert cls.shared == []

    def setup_method(self, method):
        assert not hasattr(self, "number")
        self.number = 1
        self.shared.append(method.__name__)

    def teardown_method(self, method):
        assert self.shared.pop() == method.__name__

    def test_first(self):
        assert self.number == 1
        self.number += 1

    def test_second(self):
        assert self.shared == ["test_second"]
