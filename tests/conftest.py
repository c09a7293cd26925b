"""What holds for all tests: nothing that runs in this process decides what a later test finds there."""

import compileall
import os
import signal
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from _pytest import pytester as pytester_module

from pytest_joules.code import project

pytest_plugins = ["pytester", "inner", "processes", "servers"]


@pytest.fixture(scope="session", autouse=True)
def _compiled():
    """Processes of inner runs need not compile the plugin, whatever the shell says of writing bytecode."""
    compileall.compile_dir(Path(project.__file__).parents[1], quiet=2)


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
        patch.setattr(project, "_NOT_OURS", (*project._NOT_OURS, f"{Path(__file__).parent}{os.sep}"))
        yield


#: Plugins of others that inner runs load only where a test asks for them (``inner_plugins``): each process would import them.
_OTHERS = ("randomly", "hypothesispytest", "asyncio", "anyio", "timeout", "rerunfailures")


@pytest.fixture
def pytester(pytester, monkeypatch, request):
    """Pytester, whose runs have none of the outer run's options in the shell, and no plugins that they do not need.

    ``randomly`` is one of them: inner tests have the order that they are written in.
    """
    wanted = {name for marker in request.node.iter_markers("inner_plugins") for name in marker.args}
    monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(f"-p no:{name}" for name in _OTHERS if name not in wanted))
    return pytester
