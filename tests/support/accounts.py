"""Accounts of tests, for what prints them."""


def part(name, joules, total=1.0, **other):
    width = 0.05 * joules
    record = {
        "name": name,
        "kind": "function",
        "direction": "",
        "device": "cpu",
        "joules": joules,
        "ci95": [joules - width, joules + width],
        "share": joules / total,
        "seconds": joules / 10,
        "busy": joules / 10,
        "watts": 10.0,
        "calls": 3.0,
        "same": [],
    }
    return {**record, **other}


def node(name, own, *children, direction=""):
    joules = own + sum(child["joules"] for child in children)
    found = {"name": name, "direction": direction, "joules": joules, "own": own, "seconds": joules / 10, "calls": 3.0}
    return {**found, "children": list(children)}


def account(flat=None, tree=None, rest=0.1, **other):
    """One whose parts cost 0.5, 0.3 and 0.1 J, where nothing else is said."""
    if flat is None:
        flat = [part("shop.py::total", 0.5), part("shop.py::tax", 0.3), part("shop.py::show", 0.1)]
        tree = [node("shop.py::show", 0.1, node("shop.py::total", 0.5, node("shop.py::tax", 0.3)))]
    record = {
        "what": "functions",
        "joules": sum(one["joules"] for one in flat) + rest,
        "shared_by": "regression",
        "why": None,
        "idle_watts": 2.5,
        "rounds": 4,
        "tree": tree or [node(one["name"], one["joules"]) for one in flat],
        "flat": flat,
        "summarised": [],
        "unattributed": part("unattributed", rest, calls=0.0),
        "conservation": 1e-16,
        "against_counter": 1.002,
        "similarity": None,
        "grown": [],
        "notes": [],
    }
    return {**record, **other}
