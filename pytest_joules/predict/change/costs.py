"""What pieces of Python cost: nanoseconds of CPython 3.11 on one machine.

Only their proportions matter, as they are put against a test's measured time.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Of syntax nodes, beyond what is in them.
NODES: Mapping[str, float] = {
    "Name": 1.3, "Constant": 1, "Attribute": 5, "BinOp": 7, "UnaryOp": 2.5, "Compare": 4.5, "BoolOp": 1.5, "Subscript": 5,
    "Slice": 25, "IfExp": 2, "List": 12, "Tuple": 9, "Set": 25, "Dict": 16, "JoinedStr": 20, "FormattedValue": 2,
    "Lambda": 30, "Yield": 16, "YieldFrom": 60, "Await": 60, "NamedExpr": 1.5, "Starred": 15, "Return": 2.5, "Assign": 1.5,
    "AugAssign": 8, "AnnAssign": 1.5, "If": 2, "For": 20, "AsyncFor": 80, "While": 2, "With": 60, "AsyncWith": 200, "Try": 1,
    "Raise": 250, "Assert": 2, "Delete": 8, "Import": 110, "ImportFrom": 280, "FunctionDef": 40, "AsyncFunctionDef": 40,
    "ClassDef": 8000, "Match": 20, "Expr": 1,
}  # fmt: skip
#: Per turn of a loop, and to begin a comprehension.
TURN, COMPREHENSION, ITEM = 6.0, 90.0, 10.0
CALL = 12.0
#: Builtins and methods of built-in types: nanoseconds at once, and for each element of the first argument (of the object, for
#: methods).
KNOWN: Mapping[str, tuple[float, float]] = {
    "len": (3, 0), "range": (38, 0), "isinstance": (7, 0), "issubclass": (13.5, 0), "type": (8, 0), "id": (9, 0),
    "hash": (13.5, 0), "getattr": (15.8, 0), "setattr": (18, 0), "hasattr": (18, 0), "callable": (9, 0), "iter": (18, 0),
    "next": (15.8, 0), "int": (31.5, 0), "float": (31.5, 0), "bool": (13.5, 0), "str": (25, 0), "repr": (25, 1),
    "chr": (13.5, 0), "ord": (11.2, 0), "abs": (11.2, 0), "divmod": (22.5, 0), "round": (36, 0), "list": (22, 2.2),
    "tuple": (20, 2.2), "set": (34, 4), "frozenset": (40, 4), "dict": (38, 3), "sorted": (40, 6), "reversed": (22.5, 0),
    "enumerate": (40, 0), "zip": (36, 0), "map": (31.5, 0), "filter": (31.5, 0), "sum": (30, 8), "min": (60, 8),
    "max": (60, 8), "any": (25, 5), "all": (25, 5), "print": (405, 0), "open": (12000, 0), "format": (85, 0),
    "super": (27, 0), "object": (18, 0), "slice": (22.5, 0), "deepcopy": (800, 400), "compile": (145, 0),
    "Counter": (405, 10.5), "deque": (54, 2.8), "append": (3, 0), "add": (11.2, 0), "pop": (11.2, 0), "get": (8, 0),
    "items": (15.8, 0), "keys": (15.8, 0), "values": (15.8, 0), "extend": (18, 1.4), "update": (27, 5.2),
    "setdefault": (15.8, 0), "insert": (18, 0.3), "remove": (13.5, 2.8), "index": (13.5, 2.8), "count": (13.5, 2.1),
    "copy": (27, 1.4), "clear": (11.2, 0), "sort": (27, 6.3), "reverse": (11.2, 0.3), "join": (24, 4.5), "split": (36, 1.5),
    "strip": (18, 0), "lstrip": (18, 0), "rstrip": (18, 0), "startswith": (34, 0), "endswith": (34, 0),
    "replace": (31.5, 0.3), "lower": (15.8, 0), "upper": (15.8, 0), "partition": (27, 0), "rpartition": (27, 0),
    "encode": (22.5, 0), "decode": (27, 0), "isdigit": (11.2, 0), "isalpha": (11.2, 0), "isspace": (11.2, 0),
    "find": (22.5, 0.3), "rfind": (22.5, 0.3), "splitlines": (36, 1), "match": (112.5, 0), "search": (157.5, 0),
    "sub": (405, 0), "findall": (315, 0), "finditer": (112.5, 0), "fullmatch": (112.5, 0), "group": (27, 0),
    "start": (15.8, 0), "end": (15.8, 0), "popleft": (9.9, 0), "appendleft": (9, 0), "union": (31.5, 7),
    "difference": (31.5, 7), "intersection": (31.5, 7), "isidentifier": (13.5, 0), "title": (27, 0), "write": (27, 0),
    "ValueError": (54, 0), "TypeError": (54, 0), "KeyError": (54, 0), "partial": (54, 0), "isupper": (12, 0), "islower": (12, 0),
    "isalnum": (12, 0), "isdecimal": (12, 0), "isnumeric": (12, 0), "isascii": (11, 0), "istitle": (14, 0), "casefold": (18, 0),
    "swapcase": (25, 0), "capitalize": (22, 0), "zfill": (25, 0), "ljust": (25, 0), "rjust": (25, 0), "center": (28, 0),
    "removeprefix": (22, 0), "removesuffix": (22, 0), "rsplit": (40, 1.5), "rindex": (20, 0.3), "translate": (60, 4),
    "expandtabs": (25, 0.5), "isprintable": (12, 0), "discard": (13, 0), "popitem": (18, 0), "issubset": (30, 5),
    "issuperset": (30, 5), "isdisjoint": (25, 5), "bit_length": (14, 0), "hex": (25, 0), "bin": (25, 0), "oct": (25, 0),
    "pow": (25, 0), "vars": (20, 0), "dir": (800, 20), "bytes": (25, 1), "bytearray": (30, 1), "memoryview": (35, 0),
    "ascii": (30, 1), "delattr": (18, 0), "in a list": (0, 6), "%": (120, 12), "f-string": (35, 0),
}  # fmt: skip
#: ``x in a_list``, as a name that is called.
MEMBERSHIP = "in a list"
#: ``"..." % value`` and ``f"{value}"``, likewise: who knows of what size that is.
FORMATTED, SHOWN = "%", "f-string"
