"""Hooks of a project: they read reports, change them, and make items of their own."""

import pytest


class YamlFile(pytest.File):
    def collect(self):
        for line in self.path.read_text().splitlines():
            name, _, value = line.partition(": ")
            yield YamlItem.from_parent(self, name=name, value=value)


class YamlItem(pytest.Item):
    def __init__(self, *, value, **kwargs):
        super().__init__(**kwargs)
        self.value = value

    def runtest(self):
        if self.value != "ok":
            raise ValueError(self.value)

    def repr_failure(self, excinfo, style=None):
        return f"{self.name} is {excinfo.value}"

    def reportinfo(self):
        return self.path, 0, f"yaml: {self.name}"


def pytest_collect_file(parent, file_path):
    if file_path.suffix == ".yaml":
        return YamlFile.from_parent(parent, path=file_path)
    return None


def pytest_runtest_setup(item):
    if item.get_closest_marker("skipped_by_hook"):
        pytest.skip("by a hook")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    # What comes next is an item, whoever it is.
    if nextitem is not None and isinstance(item, pytest.Function):
        assert isinstance(nextitem, pytest.Item)
        assert nextitem.nodeid
        nextitem.get_closest_marker("anything")
    yield
    if item.get_closest_marker("breaks_in_teardown"):
        raise RuntimeError("teardown hook")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    setattr(item, f"report_{report.when}", report)
    if report.when == "call" and report.passed and item.get_closest_marker("failed_by_hook"):
        report.outcome = "failed"
        report.longrepr = "turned into a failure"
    if report.when == "call" and report.failed and item.get_closest_marker("passed_by_hook"):
        report.outcome = "passed"
        report.longrepr = None
    report.sections.append(("extra", f"{report.when} of {item.name}"))
    return report


def pytest_report_teststatus(report, config):
    if report.when == "call" and report.passed and "shouted" in report.keywords:
        return "passed", "!", "SHOUTED"
    return None


started = []


def pytest_runtest_logstart(nodeid):
    assert nodeid not in started
    started.append(nodeid)


def pytest_runtest_logfinish(nodeid):
    assert nodeid in started


def pytest_terminal_summary(terminalreporter):
    terminalreporter.section("mine")
    terminalreporter.write_line(f"started {len(started)} tests")


@pytest.fixture
def sees_reports(request):
    yield
    assert request.node.report_setup.passed
    print("call was", request.node.report_call.outcome)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: "last" in item.keywords)


def pytest_generate_tests(metafunc):
    if "generated" in metafunc.fixturenames:
        metafunc.parametrize("generated", [1, 2])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    if item.get_closest_marker("runs_itself"):
        from _pytest.runner import runtestprotocol

        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        runtestprotocol(item, nextitem=nextitem)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True
    return None
