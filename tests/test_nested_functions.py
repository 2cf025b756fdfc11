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
    """Yield the nodes of a function without those of the functions in it, but with their heads."""
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, FUNCTIONS):
            waiting += ast.iter_child_nodes(node)


def assigned_in(function):
    """Return each local name with the line in which it is first assigned."""
    lines = dict.fromkeys(parameters_of(function), function.lineno)
    for node in own_nodes(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            lines[node.id] = min(node.lineno, lines.get(node.id, node.lineno))
        elif isinstance(node, ast.ExceptHandler) and node.name:
            lines[node.name] = min(node.lineno, lines.get(node.name, node.lineno))
    return lines


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


def test_a_name_assigned_later_is_found():
    source = """
def outer(first):
    def inner(own):
        return own + first + later
    before = 1
    key = lambda x: x + before + after
    later, after = 1, 2
    return inner, key
"""
    assert late_names(source) == [(3, "later"), (6, "after")]
