"""What Numba made of functions: instructions in its LLVM IR and in the machine's assembly, by groups.

Numba is not needed: where it was not imported, or none of a test's functions is one of its own and has been compiled in this
process, there is nothing to tell.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import ModuleType
from typing import Any

from pytest_joules.predict.facts.facts import TestFacts

#: LLVM instructions by group; others are ``other``.
_GROUPS: Mapping[str, tuple[str, ...]] = {
    "float add": ("fadd", "fsub"),
    "float multiply": ("fmul",),
    "float divide": ("fdiv", "frem"),
    "integer add": ("add", "sub"),
    "integer multiply": ("mul",),
    "integer divide": ("sdiv", "udiv", "srem", "urem"),
    "bits": ("and", "or", "xor", "shl", "lshr", "ashr"),
    "compare": ("icmp", "fcmp", "select"),
    "load": ("load",),
    "store": ("store",),
    "address": ("getelementptr", "alloca"),
    "branch": ("br", "switch", "indirectbr"),
    "call": ("call", "invoke"),
    "return": ("ret", "unreachable", "resume"),
    "convert": (
        "trunc",
        "zext",
        "sext",
        "fptrunc",
        "fpext",
        "fptoui",
        "fptosi",
        "uitofp",
        "sitofp",
        "bitcast",
        "ptrtoint",
        "inttoptr",
    ),
    "merge": ("phi",),
    "vector": ("extractelement", "insertelement", "shufflevector"),
    "aggregate": ("extractvalue", "insertvalue"),
    "atomic": ("cmpxchg", "atomicrmw", "fence"),
}
_GROUP_OF = {instruction: group for group, instructions in _GROUPS.items() for instruction in instructions}
_INSTRUCTION = re.compile(r"^\s+(?:%\S+\s*=\s*|@\S+\s*=\s*)?(?:(?:tail|musttail|notail)\s+)?([a-z]+)\b", re.MULTILINE)
_LANES = re.compile(r"<(\d+) x (?:double|float|half|i\d+|ptr)>")
#: One line of assembly that is neither a label nor a directive.
_MNEMONIC = re.compile(r"^\s+([a-z][a-z0-9.]*)\b([^\n]*)$", re.MULTILINE)
_REGISTERS = (("128", re.compile(r"\bxmm\d|\bv\d+\.|\bq\d+\b")), ("256", re.compile(r"\bymm\d")), ("512", re.compile(r"\bzmm\d")))
_ASSEMBLY = (
    ("call", re.compile(r"^(?:call|bl|blr)")),
    ("jump", re.compile(r"^(?:j[a-z]+|b|b\..*|cbn?z|tbn?z)$")),
    ("move", re.compile(r"^v?(?:mov|lea|ld|st|push|pop|cmov)")),
    ("multiply", re.compile(r"^v?(?:p?mul|i?mul|fn?m|madd|fmul)")),
    ("divide", re.compile(r"^v?(?:i?div|[su]div|fdiv|sqrt|fsqrt)")),
    ("add", re.compile(r"^v?(?:p?add|p?sub|adc|sbb|inc|dec|fadd|fsub)")),
    ("compare", re.compile(r"^v?(?:cmp|test|ucomi|comi|fcmp|ccmp)")),
    ("bits", re.compile(r"^v?(?:p?and|p?or|p?xor|sh[lr]|sa[lr]|ro[lr]|not|orr|eor|lsl|lsr|asr)")),
)


def native(facts: TestFacts) -> dict[str, float]:
    """Instructions of all functions in a test's path that Numba compiled, one line counting once: ``ir:GROUP``, ``asm:GROUP``,
    ``ir:lanes N`` and ``asm:bits N`` for vectors by width, ``native:functions`` and ``native:signatures``. ``{}`` without any."""
    found: dict[str, float] = {}
    for compiled in _compiled(facts):
        for name, value in _of_function(compiled).items():
            found[name] = found.get(name, 0.0) + value
    return dict(sorted(found.items()))


def instructions(llvm: str, assembly: str) -> dict[str, float]:
    """Instructions by group of an LLVM IR text and of an assembly text."""
    found: Counter[str] = Counter()
    for match in _INSTRUCTION.finditer(llvm):
        found[f"ir:{_GROUP_OF.get(match[1], 'other')}"] += 1
    for match in _LANES.finditer(llvm):
        found[f"ir:lanes {match[1]}"] += 1
    for match in _MNEMONIC.finditer(assembly):
        group = next((name for name, pattern in _ASSEMBLY if pattern.match(match[1])), "other")
        found[f"asm:{group}"] += 1
        for bits, pattern in _REGISTERS:
            if pattern.search(match[2]):
                found[f"asm:bits {bits}"] += 1
    return {name: float(value) for name, value in found.items()}


_instructions = lru_cache(maxsize=512)(instructions)


def _of_function(compiled: Any) -> Mapping[str, float]:  # noqa: ANN401 - Numba has no types
    found: dict[str, float] = {}
    try:
        llvm, assembly = compiled.inspect_llvm(), compiled.inspect_asm()
        for signature, text in llvm.items():
            for name, value in _instructions(text, assembly.get(signature, "")).items():
                found[name] = found.get(name, 0.0) + value
    except Exception:  # whatever it raises for a function that came from its cache on disk without IR
        return {}
    if llvm:
        found["native:functions"], found["native:signatures"] = 1.0, float(len(llvm))
    return found


def _compiled(facts: TestFacts) -> Iterator[Any]:
    """The dispatchers of Numba in a test's path, as they are in this process."""
    if "numba" not in sys.modules:
        return
    seen: set[int] = set()
    for place in facts.sources:
        path, _, name = place.partition("::")
        name = name.removeprefix("<module>").strip()
        if not name or "<locals>" in name:
            continue
        for module in _modules(path):
            value: object = module
            for part in name.split("."):
                value = getattr(value, "__dict__", {}).get(part)
            if hasattr(value, "inspect_llvm") and hasattr(value, "inspect_asm") and id(value) not in seen:
                seen.add(id(value))
                yield value


def _modules(path: str) -> list[ModuleType]:
    """What is imported from a file of the project, by the file's path in it."""
    path = path.removeprefix("installed/")
    named = _by_name(len(sys.modules)).get(path.rpartition("/")[2], [])
    return [module for file, module in named if file.endswith(f"/{path}")]


@lru_cache(maxsize=1)
def _by_name(loaded: int) -> Mapping[str, list[tuple[str, ModuleType]]]:
    """The modules that are imported, by the last part of their file's path; ``loaded``: how many there are."""
    found: dict[str, list[tuple[str, ModuleType]]] = {}
    for module in sys.modules.copy().values():
        file = getattr(module, "__file__", None) if isinstance(module, ModuleType) else None
        if isinstance(file, str):
            file = file.replace("\\", "/")
            found.setdefault(file.rpartition("/")[2], []).append((file, module))
    return found
