"""Fixtures of all scopes, fresh where they are promised to be fresh."""

import itertools

import pytest

numbers = itertools.count()


@pytest.fixture(scope="session")
def session_thing():
    print("session up")
    yield {"scope": "session"}
    print("session down")


@pytest.fixture(scope="module", params=["first", "second"])
def module_thing(request, session_thing):
    print("module up", request.param)
    yield request.param
    print("module down", request.param)


@pytest.fixture(scope="module", params=[1, 2])
def inner_thing(request, module_thing):
    return module_thing, request.param


@pytest.fixture(scope="class")
def class_thing():
    things = []
    yield things
    things.clear()


@pytest.fixture
def listed():
    return []


@pytest.fixture
def streamed():
    return iter([1, 2, 3])


@pytest.fixture
def finalized(request):
    state = {"open": True}
    request.addfinalizer(lambda: state.update(open=False))
    yield state
    assert state["open"]


@pytest.fixture(autouse=True)
def around_each(request):
    before = next(numbers)
    request.node.before = before
    yield
    assert request.node.before == before


@pytest.fixture
def factory(tmp_path):
    def make(name):
        path = tmp_path / name
        path.mkdir()
        return path

    return make


@pytest.fixture
def indirect(request):
    return request.param * 2


def test_list(listed):
    assert listed == []
    listed.append(1)


def test_iterator(streamed):
    assert list(streamed) == [1, 2, 3]


def test_finalizers(finalized):
    assert finalized["open"]


def test_make_directory(factory, tmp_path):
    factory("a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_same_directory(tmp_path, request):
    (tmp_path / "made").mkdir()
    assert request.getfixturevalue("tmp_path") is tmp_path


def test_factory_numbers(tmp_path_factory):
    assert tmp_path_factory.mktemp("data").is_dir()


def test_nested(module_thing, inner_thing):
    assert inner_thing[0] == module_thing


def test_nested_again(inner_thing, listed):
    assert inner_thing[1] in (1, 2)
    assert not listed


@pytest.mark.parametrize("indirect", [1, 2], indirect=True)
def test_indirect(indirect):
    assert indirect in (2, 4)


@pytest.mark.parametrize(("a", "b"), [(1, 2), pytest.param(3, 4, id="named"), pytest.param(5, 6, marks=pytest.mark.xfail)])
def test_parameters(a, b):
    assert a < 5
    assert b == a + 1


@pytest.mark.parametrize("mutable", [[1, 2], {"a": 1}, {1, 2}, ([], 1)])
def test_changed_parameter(mutable):
    if isinstance(mutable, tuple):
        assert mutable[0] == []
        mutable[0].append("more")
    else:
        assert len(mutable) in (1, 2)
        mutable.clear()


@pytest.mark.usefixtures("listed", "class_thing")
class TestScopes:
    def test_one(self, class_thing):
        assert class_thing == []

    def test_instance_is_fresh(self):
        assert not hasattr(self, "value")
        self.value = 1

    @pytest.mark.parametrize("number", range(3))
    def test_many(self, class_thing, number, listed):
        listed.append(number)
        assert listed == [number]


class TestRequest:
    @pytest.fixture
    def own(self):
        self.owned = True
        return self

    def test_fixture_shares_the_instance(self, own):
        assert own is self
        assert self.owned

    def test_late_fixture(self, request):
        assert request.getfixturevalue("listed") == []
        request.getfixturevalue("listed").append(1)

    def test_class(self, request):
        assert request.cls is TestRequest
        assert request.instance is self
        assert request.function.__name__ == "test_class"


def test_session(session_thing):
    print("in the test")
    assert session_thing["scope"] == "session"
