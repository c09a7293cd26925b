"""Instructions of functions that Numba compiled."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from pytest_joules.predict.facts.facts import TestFacts
from pytest_joules.predict.facts.features import native
from pytest_joules.predict.facts.native import instructions

LLVM = """
; ModuleID = 'sum'
@.const = internal constant [4 x i8] c"sum\\00"
define double @sum(double* %x, i64 %n) {
entry:
  %a = alloca double, align 8
  br label %loop
loop:                                             ; preds = %entry
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %v = load <4 x double>, <4 x double>* %p, align 8
  %s = fadd fast <4 x double> %v, %t
  %m = fmul <2 x float> %q, %q
  %r = tail call double @llvm.sqrt.f64(double %z)
  store double %r, double* %a
  %next = add nuw nsw i64 %i, 1
  br i1 %done, label %exit, label %loop
exit:
  ret double %r
}
"""
ASSEMBLY = """
\t.text
\t.globl\tsum
sum:
.Lfunc_begin0:
\tpushq\t%rbp
\tvmovupd\t(%rdi,%rax,8), %ymm0
\tvaddpd\t%ymm0, %ymm1, %ymm1
\tvmulsd\t%xmm0, %xmm0, %xmm0
\tcmpq\t%rax, %rsi
\tjne\t.LBB0_1
\tvzeroupper
\tretq
"""


def test_instructions_by_group():
    found = instructions(LLVM, ASSEMBLY)
    ir = {name.removeprefix("ir:"): value for name, value in found.items() if name.startswith("ir:")}
    assert ir == {
        **{"address": 1, "branch": 2, "merge": 1, "load": 1, "float add": 1, "float multiply": 1, "call": 1, "store": 1},
        **{"integer add": 1, "return": 1, "lanes 4": 3, "lanes 2": 1},
    }
    asm = {name.removeprefix("asm:"): value for name, value in found.items() if name.startswith("asm:")}
    assert asm == {"move": 2, "add": 1, "multiply": 1, "compare": 1, "jump": 1, "other": 2, "bits 256": 2, "bits 128": 1}


def test_nothing_without_numba(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "numba")
    assert native(TestFacts("a.py::test_a", {"a.py::f": "def f(): pass\n"}, {}, None, "")) == {}


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="Numba is not installed")
def test_a_function_that_numba_compiled(tmp_path, monkeypatch):
    (tmp_path / "native_lib.py").write_text(
        "import numba\n"
        "@numba.njit(fastmath=True)\ndef total(x):\n    s = 0.0\n    for v in x:\n        s += v * v\n    return s\n"
        "def plain(x):\n    return x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import native_lib
    import numpy

    sources = {
        "native_lib.py::<module> total": "@numba.njit\ndef total(x): ...\n",
        "native_lib.py::plain": "def plain(x): return x\n",
    }
    facts = TestFacts("a.py::test_a", sources, {}, None, "")
    assert native(facts) == {}  # not compiled yet
    assert native_lib.total(numpy.ones(1000)) == 1000
    found = native(facts)
    assert found["native:functions"] == found["native:signatures"] == 1
    assert found["ir:float add"] > 0
    assert found["ir:float multiply"] > 0
    assert found["ir:branch"] > 0
    assert found["asm:jump"] > 0
    native_lib.total(numpy.ones(10, "float32"))
    assert native(facts)["native:signatures"] == 2
    del sys.modules["native_lib"]
