"""Small defects for a source file: each a change that tests should notice."""

import ast
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult,
}  # fmt: skip
_NOTES = {"logger", "logging", "warnings"}  # what is only said is left alone


@dataclass(frozen=True)
class Mutant:
    """One defect.

    Attributes:
        line: where it is.
        at_import: whether the line runs when the file is imported, rather than in a function.
        change: what it does, in a few words.
        source: the whole file with it.
    """

    line: int
    at_import: bool
    change: str
    source: str


Change = tuple[str, Callable[[], None]]


def count_mutants(source: str) -> int:
    """How many defects this knows for a file."""
    return sum(1 for _ in _all_changes(ast.parse(source)))


def make_mutant(source: str, number: int) -> Mutant:
    """The defect of that number, from 0, in the file's order."""
    tree = ast.parse(source)
    node, (text, apply) = next(islice(_all_changes(tree), number, None))
    before = ast.unparse(node)
    apply()
    after = ast.unparse(ast.fix_missing_locations(tree))
    line: int = node.lineno  # type: ignore[attr-defined] - of expressions and statements alone
    return Mutant(line, _runs_at_import(tree, line), f"{text}: {_short(before)}", after)


def _runs_at_import(tree: ast.AST, line: int) -> bool:
    functions = (one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef))
    return not any(one.body[0].lineno <= line <= (one.end_lineno or 0) for one in functions)


def _all_changes(tree: ast.AST) -> Iterator[tuple[ast.AST, Change]]:
    return ((node, change) for node in _nodes(tree) for change in _changes(node))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of code that decides or computes: no annotations, docstrings, messages, notes."""
    if isinstance(node, ast.Raise) or _is_note(node) or _is_docstring(node):
        return
    if hasattr(node, "lineno"):
        yield node
    for name, field in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_comment"):
            continue
        for child in field if isinstance(field, list) else [field]:
            if isinstance(child, ast.AST):
                yield from _nodes(child)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_note(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and isinstance(node.value.func.value, ast.Name)
        and node.value.func.value.id in _NOTES
    )


def _changes(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
        yield (
            "comparison turned",
            lambda: node.ops.__setitem__(0, _COMPARISONS[type(node.ops[0])]()),
        )
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS and not _is_text(node):
        yield "operator swapped", lambda: setattr(node, "op", _OPERATORS[type(node.op)]())
    elif isinstance(node, ast.BoolOp):
        other = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield "and for or", lambda: setattr(node, "op", other())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield (
            "sign or not dropped",
            lambda: (
                setattr(node, "op", ast.UAdd())
                if isinstance(node.op, ast.USub)
                else _become(node, node.operand)
            ),
        )
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
        yield "another constant", lambda: setattr(node, "value", _another(node.value))
    elif isinstance(node, ast.If | ast.IfExp):
        yield "condition turned", lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "call left out", lambda: setattr(node, "value", ast.Constant(value=None))
    elif isinstance(node, ast.AugAssign) and type(node.op) in _OPERATORS:
        yield "operator swapped", lambda: setattr(node, "op", _OPERATORS[type(node.op)]())
    elif isinstance(node, ast.keyword) and node.arg in ("reverse", "keepdim"):
        yield "argument left out", lambda: setattr(node, "value", ast.Constant(value=False))


def _is_text(node: ast.BinOp) -> bool:
    sides = (node.left, node.right)
    return any(
        isinstance(one, ast.JoinedStr)
        or (isinstance(one, ast.Constant) and isinstance(one.value, str))
        for one in sides
    )


def _another(value: float) -> float | bool:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value * 2 + 1e-3


def _become(node: ast.UnaryOp, operand: ast.expr) -> None:
    """`not x` to `bool(x)`: a node cannot replace itself."""
    twice = ast.UnaryOp(ast.Not(), deepcopy(operand))
    node.operand = twice
