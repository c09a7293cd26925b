"""What a package's tests need, from where its authors wrote it down; and a bounded guess where they did not."""

from __future__ import annotations

import configparser
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from email.parser import HeaderParser
from itertools import pairwise
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pytest_joules.files import reading

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

#: Names of extras, dependency groups and tox environments, the likeliest first; and files of requirements.
_FOR_TESTS = ("test", "tests", "testing", "pytest", "unittest", "test-suite", "tests-all", "hatch-test")
_FILES_FOR_TESTS = (
    *("requirements-test.txt", "requirements-tests.txt", "requirements_test.txt", "requirements_tests.txt"),
    *("test-requirements.txt", "test_requirements.txt", "tests-requirements.txt", "requirements-testing.txt"),
    *("requirements/test.txt", "requirements/tests.txt", "requirements/testing.txt", "requirements/tests.in"),
    *("tests/requirements.txt", "test/requirements.txt", "tests/requirements-test.txt"),
)
#: The same for whoever works on the project: they have more than tests need.
_FOR_ALL = ("dev", "develop", "development", "default")
_FILES_FOR_ALL = ("requirements-dev.txt", "requirements_dev.txt", "dev-requirements.txt", "requirements/dev.txt")

#: Not needed to run tests: linters, formatters, documentation, release and build tools, and what starts several Pythons.
_NOT_FOR_TESTS = re.compile(
    r"black|ruff|flake8.*|pyflakes|pycodestyle|pylint.*|mypy|pyright|pytype|isort|autopep8|yapf|bandit|codespell|interrogate"
    r"|sphinx.*|mkdocs.*|furo|myst-.*|.*-sphinx-theme|docutils-stubs|pdoc.*|towncrier|twine|build|wheel|setuptools|bump.*|hatch"
    r"|pre-commit.*|tox.*|nox|virtualenv|pip|pip-tools|uv|poetry|flit|pdm|coveralls|codecov|jupyter.*|ipython|ipdb|notebook"
    # Plugins that make tests of linters, of the documentation, or of chance.
    r"|pytest-(mypy.*|flake8|black.*|isort|pylint|ruff|pep8|pycodestyle|pydocstyle|checkdocs|enabler|perf|random.*|repeat|watch.*)"
    r"|types-.*|check-manifest|pyroma|readme-renderer|commitizen|gitpython|invoke|atheris|pytest-codspeed|pytest-joules|pytest-xdist"
)

#: What a module that is not found is installed as; only these are guessed.
MODULES = {
    **{
        name: name
        for name in (
            *("hypothesis", "mock", "nose", "freezegun", "numpy", "pandas", "simplejson", "requests", "attr", "attrs"),
            *("six", "pytz", "tzdata", "dill", "cloudpickle", "coverage", "docutils", "jinja2", "markupsafe", "chardet"),
            *("parameterized", "pexpect", "psutil", "sortedcontainers", "trio", "anyio", "responses", "httpbin"),
            *("werkzeug", "flask", "click", "typing_extensions", "toml", "tomli", "tomlkit", "lxml", "html5lib"),
            *("webtest", "ddt", "testtools", "testscenarios", "pygments", "rich", "pydantic", "marshmallow", "cattrs"),
            *("ujson", "orjson", "msgpack", "zope.interface", "regex", "pretend", "iso8601", "trustme", "idna", "sympy"),
            *("networkx", "pyperf", "yapf", "black", "blessed", "colorama"),
        )
    },
    "yaml": "pyyaml",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "dateutil": "python-dateutil",
    "PIL": "pillow",
    "OpenSSL": "pyopenssl",
    "pkg_resources": "setuptools<80",
    "setuptools": "setuptools<80",
    "zope": "zope.interface",
}
#: What a fixture that is not found is installed as.
FIXTURES = {
    "mocker": "pytest-mock",
    "benchmark": "pytest-benchmark",
    "subtests": "pytest-subtests",
    "httpserver": "pytest-httpserver",
    "requests_mock": "requests-mock",
    "datadir": "pytest-datadir",
    "data_regression": "pytest-regressions",
    "file_regression": "pytest-regressions",
    "snapshot": "syrupy",
    "freezer": "pytest-freezer",
    "anyio_backend": "anyio",
    "event_loop": "pytest-asyncio",
    "httpbin": "pytest-httpbin",
    "fs": "pyfakefs",
    "faker": "faker",
}
PLUGINS = re.compile(
    r"pytest[-_](mock|asyncio|benchmark|subtests|timeout|regressions|datadir|cases|lazy[-_]fixtures?|httpbin|trio|cov)"
)
#: At most so many requirements of one package, and bytes of a file that says so.
MOST = 60
_MOST_BYTES = 2**20


def metadata(project: Path) -> tuple[str | None, str | None, list[str]]:
    """Name, version and extras of an unpacked source distribution, from its ``PKG-INFO``, or else from ``pyproject.toml``."""
    try:
        found = HeaderParser().parsestr(reading.read_text(project / "PKG-INFO", _MOST_BYTES, errors="replace"))
    except OSError:
        table = _table(_toml(project / "pyproject.toml"), "project")
        name, version = table.get("name"), table.get("version")
        extras = list(_table(table, "optional-dependencies"))
        return name if isinstance(name, str) else None, version if isinstance(version, str) else None, extras
    return found.get("Name"), found.get("Version"), found.get_all("Provides-Extra") or []


def test_extras(extras: Sequence[str]) -> list[str]:
    """Those extras that are for tests."""
    known: dict[str, str] = {canonicalize_name(extra): extra for extra in extras}
    return [known[name] for name in _FOR_TESTS if name in known]


def of_tests(project: Path, own: str | None = None) -> list[str]:
    """Requirements of the tests: extras, dependency groups and those of Poetry, Hatch and PDM, tox's ``deps``, files of
    requirements; where there are none for tests, those for all who work on the project. Without linters, documentation and the
    like; without URLs, paths and pins; without the project's ``own`` name, of which they may pin another version; of each
    distribution the first mention."""
    mine = canonicalize_name(own) if own is not None else None
    found: dict[str, str] = {}
    for where in ((_FOR_TESTS, _FILES_FOR_TESTS), (_FOR_ALL, _FILES_FOR_ALL)):
        for text in _written(project, *where):
            try:
                requirement = Requirement(text)
            except InvalidRequirement:
                continue
            name = canonicalize_name(requirement.name)
            unfit = requirement.url or name == mine or _NOT_FOR_TESTS.fullmatch(name)
            if not unfit and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
                found.setdefault(name, _without_pins(requirement))
        if found:
            break
    return list(found.values())[:MOST]


def _without_pins(requirement: Requirement) -> str:
    """Pins are of the day they were written: together they take pip minutes to find impossible."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    # Too old a pytest is of no use here.
    kept = [str(part) for part in requirement.specifier if part.operator in (">", ">=", "!=")]
    return requirement.name + extras + (",".join(sorted(kept)) if canonicalize_name(requirement.name) != "pytest" else "")


def names(requirements: Iterable[str]) -> list[str]:
    """The same without their versions and extras."""
    return [Requirement(text).name for text in requirements]


def guesses(missing_modules: Iterable[str], missing_fixtures: Iterable[str]) -> list[str]:
    """What to install for modules and fixtures that were not found: only what is well known to be needed by tests."""
    found = []
    for module in missing_modules:
        for name in (module, module.partition(".")[0]):
            if name in MODULES:
                found.append(MODULES[name])
                break
            if PLUGINS.fullmatch(name):
                found.append(name.replace("_", "-"))
                break
    found += [FIXTURES[name] for name in missing_fixtures if name in FIXTURES]
    return list(dict.fromkeys(found))


def _written(project: Path, wanted: Sequence[str], files: Sequence[str]) -> Iterator[str]:
    pyproject = _toml(project / "pyproject.toml")
    groups = _table(pyproject, "dependency-groups")
    spelled: dict[str, str] = {canonicalize_name(name): name for name in groups}
    tool = _table(pyproject, "tool")
    poetry, hatch, pdm = (_table(tool, name) for name in ("poetry", "hatch", "pdm"))
    extras = _table(_table(pyproject, "project"), "optional-dependencies")
    for name in wanted:
        yield from _group(groups, spelled, name, ())
        yield from _strings(extras.get(name))
        tables = [_table(_table(_table(poetry, "group"), name), "dependencies"), _table(poetry, f"{name}-dependencies")]
        yield from (found for table in tables for found in table if found.lower() != "python")
        environment = _table(_table(hatch, "envs"), name)
        yield from (*_strings(environment.get("dependencies")), *_strings(environment.get("extra-dependencies")))
        yield from _strings(_table(pdm, "dev-dependencies").get(name))
        yield from _tox(project, f"testenv:{name}")
    if wanted is _FOR_TESTS:
        yield from _tox(project, "testenv")
    for file in files:
        yield from _lines(project, project / file, ())


def _group(groups: Mapping[str, object], spelled: Mapping[str, str], name: str, within: tuple[str, ...]) -> Iterator[str]:
    """A dependency group (PEP 735) with those that it includes."""
    entries = groups.get(spelled.get(name, name))
    if name in within or not isinstance(entries, list):
        return
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict) and isinstance(included := entry.get("include-group"), str):
            yield from _group(groups, spelled, canonicalize_name(included), (*within, name))


def _tox(project: Path, section: str) -> Iterator[str]:
    for line in (_sections(project / "tox.ini").get(section, {}).get("deps") or "").splitlines():
        # A line may hold for some environments only: "py{310,311}: name".
        text = re.sub(r"^[\w.,{}!-]+:\s+", "", line.strip())
        if text.startswith("-r"):
            yield from _lines(project, project / text[2:].strip().replace("{toxinidir}/", ""), ())
        elif "{" not in text:
            yield text


def _lines(project: Path, path: Path, within: tuple[Path, ...]) -> Iterator[str]:
    """The requirements of a file and of those that it names, inside the project."""
    try:
        path = path.resolve()
        if path in within or not path.is_relative_to(project.resolve()):
            return
        text = reading.read_text(path, _MOST_BYTES, errors="replace")
    except (OSError, RuntimeError):
        return
    for line in text.splitlines():
        entry = re.sub(r"(^|\s)#.*", "", line).strip().rstrip("\\").strip()
        if entry.startswith(("-r", "--requirement")):
            yield from _lines(project, path.parent / entry.split(maxsplit=1)[-1].removeprefix("-r").strip(), (*within, path))
        elif entry and not entry.startswith("-"):
            yield entry.partition(" --hash")[0]


def settings_file(project: Path) -> Path | None:
    """The file that holds the project's settings of pytest, by pytest's own order; ``None`` without one."""
    for name in ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini"):
        if (project / name).is_file():
            return project / name
    tool = _table(_table(_toml(project / "pyproject.toml"), "tool"), "pytest")
    if tool:
        return project / "pyproject.toml"
    for name, section in (("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")):
        if section in _sections(project / name):
            return project / name
    return None


def kept_options(project: Path) -> list[str]:
    """Of the project's ``addopts`` those without which its tests may not be found: how modules are imported, and which plugins
    are loaded or not. The rest is dropped: coverage, parallel runs and reports would be measured too."""
    path = settings_file(project)
    if path is None:
        return []
    if path.suffix == ".toml":
        tool = _toml(path) if "pytest.toml" in path.name else _table(_table(_toml(path), "tool"), "pytest")
        given = tool.get("addopts", _table(tool, "ini_options").get("addopts", ""))
    else:
        section = "tool:pytest" if path.name == "setup.cfg" else "pytest"
        given = _sections(path).get(section, {}).get("addopts") or ""
    try:
        words = [str(word) for word in given] if isinstance(given, list) else shlex.split(str(given))
    except ValueError:
        return []
    kept = [word for word in words if word.startswith(("--import-mode=", "-pno:"))]
    for option, value in pairwise(words):
        if option == "--import-mode" or (option == "-p" and "xdist" not in value and "cov" not in value):
            kept += [option, value]
    return kept


def _sections(path: Path) -> dict[str, dict[str, str | None]]:
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    try:
        parser.read_string(reading.read_text(path, _MOST_BYTES))
        return {section: dict(parser.items(section)) for section in parser.sections()}
    except (configparser.Error, OSError, UnicodeDecodeError):
        return {}


def _toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(reading.read_text(path, _MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}


def _table(table: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = table.get(name)
    return found if isinstance(found, dict) else {}


def _strings(value: object) -> list[str]:
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


def missing_in(output: str) -> list[str]:
    """Modules that a failed start of pytest says are missing."""
    return re.findall(r"No module named ['\"]?([\w.]+)", output)
