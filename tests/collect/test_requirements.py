"""What a package's tests need, from where its authors wrote it down."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_joules.collect import fetching, popularity, requirements


@pytest.fixture
def project(tmp_path):
    def make(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_DOT_", ".").replace("_DASH_", "-")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


class TestOfTests:
    @pytest.mark.parametrize(
        "files",
        [
            {"pyproject_DOT_toml": '[dependency-groups]\nTests = ["hypothesis>=6", {include-group = "more"}]\nmore = ["mock"]'},
            {"pyproject_DOT_toml": '[dependency-groups]\ntest = ["hypothesis>=6", "mock", {include-group = "test"}]'},
            {"pyproject_DOT_toml": '[project.optional-dependencies]\ntesting = ["hypothesis>=6", "mock"]'},
            {"pyproject_DOT_toml": '[tool.hatch.envs.test]\ndependencies = ["hypothesis>=6", "mock"]'},
            {"tox_DOT_ini": "[testenv]\ndeps =\n    hypothesis>=6\n    py{310,311}: mock\n    {env:MORE:}\n"},
            {"tox_DOT_ini": "[testenv]\ndeps = -r{toxinidir}/t.txt", "t_DOT_txt": "hypothesis>=6\nmock  # old\n"},
            {"requirements_DASH_test_DOT_txt": "-r base.txt\nmock --hash=sha256:1", "base_DOT_txt": "hypothesis>=6\n-e .\n"},
            {"tests__requirements_DOT_txt": "hypothesis>=6\nmock ; python_version > '3'\n# sphinx\n"},
        ],
    )
    def test_where_it_is_written(self, project, files):
        assert sorted(requirements.of_tests(project(**files))) == ["hypothesis>=6", "mock"]

    def test_poetry_has_names_only(self, project):
        text = '[tool.poetry.group.dev.dependencies]\npython = "^3.8"\nmock = "^4"\n[tool.poetry.dev-dependencies]\nddt = "*"'
        assert requirements.of_tests(project(pyproject_DOT_toml=text)) == ["mock", "ddt"]

    def test_what_is_not_for_tests_and_what_leads_elsewhere(self, project):
        text = 'ruff\npytest-mypy-testing\nsphinx-rtd-theme\nmypy==1\nblack\npytest==3\nmock; python_version < "3"\nddt @ https://example.org/d.zip\n'
        # An old pytest would take pytest-joules away.
        assert requirements.of_tests(project(requirements_DASH_dev_DOT_txt=text)) == ["pytest"]

    def test_pins_are_dropped(self, project):
        text = "mock==1.2.3\nddt<2,>=1.1,!=1.3\nhttpx[http2]~=0.5\n"
        assert requirements.of_tests(project(requirements_DASH_test_DOT_txt=text)) == ["mock", "ddt!=1.3,>=1.1", "httpx[http2]"]

    def test_what_all_need_only_where_nothing_is_for_tests(self, project):
        here = project(requirements_DASH_dev_DOT_txt="mock\n", pyproject_DOT_toml='[dependency-groups]\ndev = ["ddt"]')
        assert requirements.of_tests(here) == ["ddt", "mock"]
        (here / "tox.ini").write_text("[testenv]\ndeps = hypothesis\n")
        assert requirements.of_tests(here) == ["hypothesis"]

    def test_the_project_itself(self, project):
        assert requirements.of_tests(project(requirements_DASH_test_DOT_txt="Mine==0.1\nmock"), "mine") == ["mock"]

    def test_requirements_outside_of_the_project(self, project):
        here = project(inside__requirements_DASH_test_DOT_txt="-r ../outside.txt\nmock", outside_DOT_txt="evil")
        assert requirements.of_tests(here / "inside") == ["mock"]

    def test_a_circle(self, project):
        here = project(requirements_DASH_test_DOT_txt="-r b.txt\nmock", b_DOT_txt="-r requirements-test.txt\nddt")
        assert requirements.of_tests(here) == ["ddt", "mock"]

    @given(text=st.text(max_size=200))
    def test_any_text(self, tmp_path_factory, text):
        folder = tmp_path_factory.mktemp("any")
        for name in ("pyproject.toml", "tox.ini", "setup.cfg", "pytest.ini", "requirements-test.txt", "PKG-INFO"):
            (folder / name).write_text(text, "utf-8", "surrogatepass")
        requirements.of_tests(folder)
        requirements.metadata(folder)
        requirements.kept_options(folder)


class TestMetadata:
    def test_of_a_source_distribution(self, project):
        text = "Metadata-Version: 2.4\nName: a-b\nVersion: 1.2\nProvides-Extra: Testing\nProvides-Extra: docs\n\nText\n"
        assert requirements.metadata(project(PKG_DASH_INFO=text)) == ("a-b", "1.2", ["Testing", "docs"])

    def test_of_a_folder(self, project):
        text = '[project]\nname = "a"\ndynamic = ["version"]\noptional-dependencies.test = ["mock"]'
        assert requirements.metadata(project(pyproject_DOT_toml=text)) == ("a", None, ["test"])

    def test_extras_for_tests(self):
        assert requirements.test_extras(["docs", "Tests", "dev", "testing"]) == ["Tests", "testing"]


class TestSettings:
    def test_what_is_kept_of_addopts(self, project):
        text = '[tool.pytest.ini_options]\naddopts = "--cov=x -n auto --import-mode=importlib -p no:warnings -p xdist --strict"'
        assert requirements.kept_options(project(pyproject_DOT_toml=text)) == ["--import-mode=importlib", "-p", "no:warnings"]

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("pytest.ini", "[pytest]\naddopts = --import-mode append"),
            ("tox.ini", "[tox]\n[pytest]\naddopts = --import-mode append"),
            ("setup.cfg", "[tool:pytest]\naddopts = --import-mode append"),
            ("pytest.toml", 'addopts = ["--import-mode", "append"]'),
        ],
    )
    def test_every_place(self, tmp_path, name, text):
        (tmp_path / name).write_text(text)
        assert requirements.settings_file(tmp_path) == tmp_path / name
        assert requirements.kept_options(tmp_path) == ["--import-mode", "append"]

    def test_files_of_other_tools(self, project):
        assert (
            requirements.settings_file(project(tox_DOT_ini="[tox]\n", setup_DOT_cfg="[metadata]", pyproject_DOT_toml="")) is None
        )


class TestGuesses:
    def test_known_names_only(self):
        # What is not known could be anybody's.
        found = requirements.guesses(["yaml.nodes", "hypothesis", "surely_not_known", "pytest_mock"], ["benchmark", "mine"])
        assert found == ["pyyaml", "hypothesis", "pytest-mock", "pytest-benchmark"]

    def test_what_pytest_says(self):
        said = "ImportError while loading conftest\nE   ModuleNotFoundError: No module named 'yaml'\n"
        assert requirements.missing_in(said) == ["yaml"]


class TestRequest:
    @pytest.mark.parametrize(
        ("text", "key"),
        [("toolz", "toolz"), ("More_Itertools", "more-itertools"), ("toolz==1.0.0", "toolz-1.0.0"), ("a==1!2+b", "a-1-2-b")],
    )
    def test_names(self, text, key):
        wanted = fetching.request(text)
        assert (wanted.text, wanted.key, wanted.path) == (text, key, None)

    def test_paths(self, tmp_path, monkeypatch):
        (tmp_path / "thing").mkdir()
        (tmp_path / "thing-1.tar.gz").write_bytes(b"")
        monkeypatch.chdir(tmp_path)
        assert fetching.request("./thing").path == tmp_path / "thing"
        assert fetching.request("thing-1.tar.gz").path == tmp_path / "thing-1.tar.gz"
        assert fetching.request("thing").path is None  # a package, whatever the folders here are called

    @pytest.mark.parametrize(
        "text", ["", "--index-url=x", "a b", "a>=1", "./nothing", "nothing.zip", "a==", "a==1;b", "git+https://x"]
    )
    def test_anything_else(self, text):
        with pytest.raises(ValueError, match=r"is no folder|is not NAME"):
            fetching.request(text)


class TestPopularity:
    @pytest.mark.parametrize(
        "text",
        [
            "package,downloads\nMore_Itertools,12\nb,3.5\n",
            "rank,project,download_count\n1,more-itertools,12\n2,b,3.5\n",
            json.dumps({"more-itertools": 12, "b": 3.5}),
            json.dumps([{"name": "more.itertools", "stars": 12}, {"name": "b", "stars": 3.5}]),
            json.dumps(
                {
                    "last_update": "x",
                    "rows": [{"project": "more-itertools", "download_count": 12}, {"project": "b", "count": 3.5}],
                }
            ),
        ],
    )
    def test_forms(self, tmp_path, text):
        (tmp_path / "p").write_text(text)
        assert popularity.read(tmp_path / "p") == {"more-itertools": 12, "b": 3.5}

    @pytest.mark.parametrize(
        "text", ["", "a,b\n1,2\n", "[1, 2]", '{"a": "many"}', '{"a": NaN}', '{"a": true}', "{", "name,count\nx,\n"]
    )
    def test_what_is_not_understood(self, tmp_path, text):
        (tmp_path / "p").write_text(text)
        with pytest.raises(ValueError, match=r"--popularity=/.*: "):
            popularity.read(tmp_path / "p")

    @given(content=st.binary(max_size=100))
    def test_any_file(self, tmp_path_factory, content):
        path = tmp_path_factory.mktemp("any") / "p"
        path.write_bytes(content)
        try:
            assert popularity.read(path)
        except ValueError as error:
            assert str(error).startswith("--popularity=")
