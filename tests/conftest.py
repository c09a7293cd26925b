"""What holds for all tests: nothing that runs in this process decides what a later test finds there."""

import compileall
import os
import signal
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import own_counters
import pytest
from _pytest import pytester as pytester_module

from pytest_joules.code import project_paths

pytest_plugins = ["pytester", "inner", "processes", "servers"]


@pytest.fixture(scope="session", autouse=True)
def _compiled():
    """Processes of inner runs need not compile the plugin, whatever the shell says of writing bytecode."""
    compileall.compile_dir(Path(project_paths.__file__).parents[1], quiet=2)


@pytest.fixture(scope="session", autouse=True)
def _no_bytecode():
    """A source written anew within a second, as long as before, would be taken for the one that is compiled already."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONDONTWRITEBYTECODE", "1")
        yield
    sys.dont_write_bytecode = before


@pytest.fixture(scope="session", autouse=True)
def _interruptible():
    """A shell that starts this in the background lets it ignore Ctrl-C, and what these tests start would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _installed_modules_stay(tmp_path_factory):
    """An inner run in this process takes its own modules along when it ends, and leaves loaded whatever is installed.

    Pytester drops both. Loaded a second time, a package has other classes than those that modules which stayed know: SQLAlchemy
    does not recognise the exceptions of a second psycopg. Whether a test meets that would depend on what ran before it.
    """
    temporary = tmp_path_factory.getbasetemp().resolve()

    def installed(module: object) -> bool:
        spec = getattr(module, "__spec__", None)
        if not isinstance(spec, ModuleSpec):
            return False
        places = [spec.origin] if spec.origin else [*(spec.submodule_search_locations or ())]
        return bool(places) and not any(Path(place).resolve().is_relative_to(temporary) for place in places)

    class Snapshot(pytester_module.SysModulesSnapshot):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, **kwargs)
            self.before = set(sys.modules)

        def restore(self) -> None:
            stay = {name: sys.modules[name] for name in sys.modules.keys() - self.before if installed(sys.modules[name])}
            super().restore()
            sys.modules.update(stay)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytester_module, "SysModulesSnapshot", Snapshot)
        # The files of these tests are loaded where an inner run looks for what its project has loaded; they are not its code.
        patch.setattr(project_paths, "_NOT_OURS", (*project_paths._NOT_OURS, f"{Path(__file__).parent}{os.sep}"))
        yield


#: Plugins of others, by their names as entry points.
_OTHERS = {"randomly", "hypothesispytest", "asyncio", "anyio", "timeout", "rerunfailures", "xdist", "xdist.looponfail"}


@pytest.fixture
def pytester(pytester, monkeypatch, request):
    """Pytester, whose runs have none of the outer run's options in the shell, and no plugins that they do not need.

    Without a marker ``inner_plugins`` they load this project's plugin alone and do not even look for others, of which each run
    would read the metadata. ``randomly`` is one that no test asks for: inner tests have the order that they are written in.
    """
    for name in ("GITHUB_STEP_SUMMARY", "GITLAB_CI"):
        # A run inside tells no CI system.
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(own_counters.__file__).parent), prepend=os.pathsep)
    wanted = {name for marker in request.node.iter_markers("inner_plugins") for name in marker.args}
    assert wanted <= _OTHERS
    if wanted:
        monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
        monkeypatch.setenv("PYTEST_PLUGINS", "own_counters")
        monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(f"-p no:{name}" for name in sorted(_OTHERS - wanted)))
    else:
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        monkeypatch.setenv("PYTEST_PLUGINS", "own_counters,pytest_joules.plugin")
        monkeypatch.setenv("PYTEST_ADDOPTS", "")
    return pytester


@pytest.fixture
def alone(pytester, monkeypatch):
    """Runs load no plugin that their command line does not name, this project's included."""
    monkeypatch.setenv("PYTEST_PLUGINS", "own_counters")
