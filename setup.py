"""Builds the optional extensions; everything else is in pyproject.toml."""

import sys
import sysconfig

from setuptools import Extension, setup

# One wheel for CPython 3.10 and later. Free-threaded builds have no limited API: there the extension is built for one version.
STABLE_ABI = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    ext_modules=[
        Extension(
            f"pytest_joules.{room}.{name}",
            sources=[f"pytest_joules/{room}/{name}.c"],
            define_macros=[("Py_LIMITED_API", "0x030A0000")] if STABLE_ABI else [],
            py_limited_api=STABLE_ABI,
            # No compiler, no headers or another architecture: the plugin installs without it, takes the monotonic clock and
            # makes in Python what stands in for functions.
            optional=True,
        )
        for room, name in (("sources", "_tsc"), ("code", "_standin"), ("count", "_requests"))
    ],
    options={"bdist_wheel": {"py_limited_api": "cp310"}} if STABLE_ABI else {},
)
