"""A nested function uses no name that the function around it assigns only further down.

Such a function can be read only together with what follows it.
"""

import ast
from pathlib import Path

import pytest

import skclip

ROOT = Path(skclip.__file__).parent
FILES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def parameters_of(function):
    args = function.args
    every = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
    return {arg.arg for arg in every if arg is not None}


def own_nodes(function):
    """Yield the nodes of a function without those inside the functions and classes in it."""
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            waiting += ast.iter_child_nodes(node)


def names_bound_by(node):
    """Return the names that a statement or an expression assigns."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.ExceptHandler) and node.name:
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name.split(".")[0] for alias in node.names]
    return []


def assigned_in(function):
    """Return each local name with the line in which it is first assigned."""
    lines = dict.fromkeys(parameters_of(function), function.lineno)
    of_outer = set()
    for node in own_nodes(function):
        if isinstance(node, (ast.Nonlocal, ast.Global)):
            of_outer |= {*node.names}
        for name in names_bound_by(node):
            lines[name] = min(node.lineno, lines.get(name, node.lineno))
    return {name: line for name, line in lines.items() if name not in of_outer}


def late_names(source):
    """Return (line of the nested function, name) for each name that is assigned after it."""
    found = set()
    for outer in ast.walk(ast.parse(source)):
        if not isinstance(outer, FUNCTIONS):
            continue
        lines = assigned_in(outer)
        for inner in own_nodes(outer):
            if not isinstance(inner, FUNCTIONS):
                continue
            used = {node.id for node in ast.walk(inner) if isinstance(node, ast.Name)}
            late = used - assigned_in(inner).keys()
            found |= {(inner.lineno, name) for name in late if lines.get(name, 0) > inner.lineno}
    return sorted(found)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_nested_functions_use_names_assigned_before_them(path):
    assert late_names((ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "later",
    [
        "later = 1",
        "for later in []: pass",
        "with first as later: pass",
        "import numpy as later",
        "def later(): pass",
        "class later: pass",
    ],
)
def test_a_name_assigned_later_is_found(later):
    inner = "def outer(first):\n    def inner(own):\n        return own + first + later\n"
    assert late_names(f"{inner}    {later}\n") == [(2, "later")]
    assert late_names(f"def outer(first):\n    {later}\n    key = lambda: later\n") == []


def test_a_variable_of_the_outer_function_is_found():
    source = """
def outer():
    def inner():
        nonlocal count
        count += 1
    count = 0
"""
    assert late_names(source) == [(3, "count")]
