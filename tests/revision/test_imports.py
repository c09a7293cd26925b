"""However the project is installed, the other revision imports its own code; where that cannot be, nothing is said of it."""

import os
import signal

import pytest
from processes import PATIENCE, ended, wait_for, wait_until
from two_revisions import SHOP, against, commit, git, left_behind

#: The file of a setuptools-like finder: it comes last on ``sys.meta_path``.
FINDER = """
import sys, importlib.util, pathlib
MAPPING = {mapping!r}
class _EditableFinder:
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        if fullname in MAPPING:
            file = pathlib.Path(MAPPING[fullname], "__init__.py")
            return importlib.util.spec_from_file_location(fullname, file)
def install():
    sys.meta_path.{insert}(_EditableFinder)
"""


@pytest.fixture
def site(shop, monkeypatch):
    """A folder that is a site directory of the runs, as if it were that of their environment."""
    folder = shop.temp / "env" / "site-packages"
    folder.mkdir(parents=True)
    start = shop.temp / "start"
    start.mkdir()
    (start / "sitecustomize.py").write_text(f"import site\nsite.addsitedir({str(folder)!r})\n")
    monkeypatch.setenv("PYTHONPATH", str(start), prepend=os.pathsep)
    shop.subprocess = True
    return folder


def package(shop, where):
    """Move the package into ``where``, with tests that reach nothing of it by their own folder."""
    folder = shop.path / where / "shop"
    folder.mkdir(parents=True)
    (shop.path / "shop.py").rename(folder / "__init__.py")
    tests = shop.path / "tests"
    tests.mkdir()
    (shop.path / "test_shop.py").rename(tests / "test_shop.py")
    commit(shop)
    return folder / "__init__.py"


def finds_it(shop, module, *args, passed=1):
    """The change of 30 % is seen, and this tree's code is this tree's."""
    module.write_text(SHOP.format(total=1_300_000, rate=2_000_000))
    result = against(shop, *args, ref="HEAD")
    result.assert_outcomes(passed=passed, failed=1)
    assert shop.tests()["test_total"]["comparison"]["ratio"] == pytest.approx(1.3)
    assert left_behind(shop) == []
    return result


def test_src_layout_by_ini(shop):
    module = package(shop, "src")
    shop.ini("pythonpath = . src")
    commit(shop)
    finds_it(shop, module)


def test_python_path(shop, monkeypatch):
    module = package(shop, "src")
    monkeypatch.setenv("PYTHONPATH", str(shop.path / "src"), prepend=os.pathsep)
    shop.subprocess = True
    finds_it(shop, module)


def test_editable_by_path(shop, site):
    module = package(shop, "src")
    (site / "__editable__.shop-1.0.pth").write_text(f"{shop.path / 'src'}\n")
    finds_it(shop, module)


@pytest.mark.parametrize("where", ["src", "python/deep"])
def test_editable_by_finder(shop, site, where):
    module = package(shop, where)
    (site / "__editable___shop_finder.py").write_text(FINDER.format(mapping={"shop": str(module.parent)}, insert="append"))
    (site / "__editable__.shop.pth").write_text("import __editable___shop_finder; __editable___shop_finder.install()\n")
    finds_it(shop, module)


def test_editable_under_another_name(shop, site):
    """``package_dir={"shop": "python"}``."""
    module = package(shop, "src")
    target = shop.path / "python"
    module.parent.rename(target)
    commit(shop)
    (site / "__editable___shop_finder.py").write_text(FINDER.format(mapping={"shop": str(target)}, insert="append"))
    (site / "__editable__.shop.pth").write_text("import __editable___shop_finder; __editable___shop_finder.install()\n")
    finds_it(shop, target / "__init__.py")


def test_a_finder_that_comes_first_is_seen(shop, site):
    """No false ``ok``: both sides would be this tree's code."""
    module = package(shop, "src")
    text = FINDER.format(mapping={"shop": str(module.parent)}, insert="insert").replace("insert(_", "insert(0, _")
    (site / "_other_backend.py").write_text(text)
    (site / "other.pth").write_text("import _other_backend; _other_backend.install()\n")
    module.write_text(SHOP.format(total=1_300_000, rate=2_000_000))
    result = against(shop, ref="HEAD")
    result.assert_outcomes(passed=2)
    for test in shop.tests().values():
        assert test["comparison"]["verdict"] == "cannot tell"
        assert "imported shop from this tree" in test["comparison"]["why"]
    assert "imported shop from this tree" in shop.report()["comparison"]["why"]


def test_an_environment_inside_the_tree(shop, site):
    """What is installed in it belongs to neither revision."""
    folder = shop.path / ".venv" / "site-packages"
    folder.mkdir(parents=True)
    (folder / "helper.py").write_text("from counter import draw\ndef help(): draw(5000)\n")
    (shop.path / ".gitignore").write_text((shop.path / ".gitignore").read_text() + ".venv\n")
    shop.ini(f"pythonpath = . {folder}")
    shop.file(test_shop="import helper\ndef test_it(): helper.help()\n")
    commit(shop)
    against(shop, ref="HEAD").assert_outcomes(passed=1)
    assert shop.tests()["test_it"]["comparison"]["verdict"] == "ok"


PYPROJECT = """
[build-system]
requires = ["backend"]
build-backend = "backend"
backend-path = ["."]
[project]
name = "shop"
version = "1.0"
"""

#: A backend that needs no network and no other package.
BACKEND = """
import pathlib, zipfile
def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "shop-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory, name), "w") as wheel:
        wheel.write("src/shop/__init__.py", "shop/__init__.py")
        wheel.writestr("shop-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: shop\\nVersion: 1.0\\n")
        wheel.writestr("shop-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("shop-1.0.dist-info/RECORD", "")
    return name
"""


def test_an_installed_copy_is_built_anew(shop, site):
    """An old copy in ``site-packages`` is neither revision."""
    module = package(shop, "src")
    (shop.path / "pyproject.toml").write_text(PYPROJECT.replace('requires = ["backend"]', "requires = []"))
    (shop.path / "backend.py").write_text(BACKEND)
    commit(shop)
    (site / "shop").mkdir()
    (site / "shop" / "__init__.py").write_text(SHOP.format(total=9_000_000, rate=9_000_000))
    # More at one of the two, of the same code: that is known of copies too.
    test = "def test_same(): draw(5000 if 'pytest-joules' in os.getcwd() else 6500)\n"
    (shop.path / "tests" / "test_same.py").write_text(f"import os\nimport shop\nfrom counter import draw\n{test}")
    commit(shop)
    finds_it(shop, module, passed=2)
    total, same = (shop.tests()[name]["comparison"] for name in ("test_total", "test_same"))
    assert total["changed"] == ["shop/__init__.py::total"]
    assert (same["verdict"], same["ratio"]) == ("cannot tell", pytest.approx(1.3))
    assert shop.median("test_total") == pytest.approx(1.3)
    # Nothing is built in this tree.
    status = git(shop.path, "status", "--porcelain").splitlines()
    assert [line.strip() for line in status if ".rustup" not in line] == ["M src/shop/__init__.py"]  # pip asks rustc
    assert (site / "shop" / "__init__.py").read_text() == SHOP.format(total=9_000_000, rate=9_000_000)


def test_a_copy_that_cannot_be_built(shop, site):
    package(shop, "src")
    (shop.path / "pyproject.toml").write_text(PYPROJECT.replace('requires = ["backend"]', "requires = []"))
    (shop.path / "backend.py").write_text("def build_wheel(*a, **k): raise ValueError('no compiler')\n")
    commit(shop)
    (site / "shop").mkdir()
    (site / "shop" / "__init__.py").write_text(SHOP.format(total=9_000_000, rate=9_000_000))
    result = against(shop, ref="HEAD")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = result.stderr.str()
    assert "--energy-against: shop is an installed copy" in said
    assert "pip install -e ." in said
    assert left_behind(shop) == []


def test_what_git_does_not_have(shop):
    """Generated files are needed on both sides; extension modules built in place cannot be had."""
    (shop.path / ".gitignore").write_text((shop.path / ".gitignore").read_text() + "_version.py\n*.so\n")
    (shop.path / "shop.py").write_text("import _version\n" + SHOP.format(total=1_000_000, rate=2_000_000))
    commit(shop)
    (shop.path / "_version.py").write_text("version = '1.2.dev3'\n")
    (shop.path / "_speed.so").write_bytes(b"")
    result = against(shop, ref="HEAD")
    result.assert_outcomes(passed=2)
    remarks = " ".join(result.stdout.str().split())
    assert "_version.py is not in git: HEAD (" in remarks
    assert "extension modules built in place are not there at HEAD (" in remarks


def test_submodules(shop):
    library = shop.temp / "library"
    library.mkdir()
    git(library, "init", "-qb", "main")
    (library / "thing.py").write_text("amount = 5000\n")
    git(library, "add", "-A")
    git(library, "commit", "-qm", "first")
    git(shop.path, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library), "library")
    shop.file(test_shop="def test_it():\n    if os.path.exists('library/thing.py'): draw(5000)\n    else: draw(4000)\n")
    commit(shop)
    result = against(shop, ref="HEAD")
    # 5 mJ against 4, but of the same code: it is not the code that changed.
    result.assert_outcomes(passed=1)
    assert "1.25× (95 % interval 1.25 to 1.25)" in " ".join(result.stdout.str().split())
    assert "submodules are not checked out: library" in " ".join(result.stdout.str().split())
    assert left_behind(shop) == []


@pytest.mark.skipif(os.name != "posix", reason="needs process groups")
def test_ctrl_c_while_it_builds(start, tmp_path):
    """What pip has started ends with it."""
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").touch()
    (tmp_path / "pip" / "__main__.py").write_text(
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid))\ntime.sleep(600)\n"
    )
    code = (
        "from pathlib import Path; from pytest_joules.revision.imports import _install; _install(Path(), Path('built'), ['it'])"
    )
    process = start("-c", code, cwd=tmp_path)
    child = wait_for(tmp_path / "child", process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    wait_until(lambda: ended(child))
