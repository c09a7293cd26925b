"""The functions in each test's path, as they were recorded."""

from __future__ import annotations

from inner import Inner

from pytest_joules import machine
from pytest_joules.model import Code
from pytest_joules.store import open_store


def executed(inner: Inner, *args: str) -> dict[str, set[str]]:
    """The functions in each test's path, by the name of the test."""
    result = inner.run("--energy-rounds=3", *args)
    assert result.ret == 0, result.stdout.str()
    inner.report()  # it fits its schema
    return executed_by(inner)


def executed_by(inner: Inner) -> dict[str, set[str]]:
    """The same from the history."""
    store = open_store(inner.path / ".pytest_cache/d/joules/history.db", write=False)
    known = store.latest_code(machine.fingerprint()["id"], "rapl")
    store.close()
    # What the inner project has for its counters is not what these tests are about.
    return {
        nodeid.partition("::")[2]: {
            key
            for key in record["code"]["functions"]
            if "::" in key and "<module>" not in key and not key.startswith("counter.py")
        }
        for nodeid, record in known.items()
    }


def counts(inner: Inner) -> dict[str, dict[str, list[int]]]:
    """How often each function was called and each of its statements ran, by the name of the test."""
    return {name: code["counts"] for name, code in _codes(inner).items()}


def outside(inner: Inner) -> dict[str, dict[str, dict[str, list[int]]]]:
    """What calls out of the project cost, by the name of the test, the function and the callee."""
    return {name: code["outside"] for name, code in _codes(inner).items()}


def _codes(inner: Inner) -> dict[str, Code]:
    store = open_store(inner.path / ".pytest_cache/d/joules/history.db", write=False)
    known = store.latest_code(machine.fingerprint()["id"], "rapl")
    store.close()
    return {nodeid.partition("::")[2]: record["code"] for nodeid, record in known.items()}
