"""The mutants of a source file: each differs from it in one place within one function."""

import ast
import copy
from collections.abc import Iterator
from typing import NamedTuple

Function = ast.FunctionDef | ast.AsyncFunctionDef

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
UNSEEN = (ast.Assert, ast.JoinedStr, ast.Raise)
"""Not mutated inside: assertions, and the texts of messages. A `raise` is removed as a whole."""
TALK = {"logger", "_log", "log", "_warn", "_logger"}
"""Names of loggers: what they are told is not tested."""


class Mutant(NamedTuple):
    """One change of one function."""

    function: str
    """The qualified name of the outermost function, as in `Class.method`."""
    line: int
    change: str
    """Before and after, as source text."""
    tree: ast.Module
    """The changed file."""


def mutants_of(source: str) -> Iterator[Mutant]:
    """Yield the mutants of a file, in the order of its lines."""
    tree = ast.parse(source)
    for name, function in functions_of(tree):
        for parent, field, index, node in _places(function):
            for changed in _changes(node):
                # The place is changed, the tree copied, and the place restored.
                _put(parent, field, index, changed)
                ast.fix_missing_locations(ast.copy_location(changed, node))
                mutated = copy.deepcopy(tree)
                _put(parent, field, index, node)
                change = f"{_text(node)}  ->  {_text(changed)}"
                yield Mutant(name, node.lineno, change, mutated)


def functions_of(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Yield the outermost functions with their qualified names."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            yield f"{prefix}{node.name}", node
        elif isinstance(node, ast.ClassDef):
            yield from functions_of(node, f"{prefix}{node.name}.")


def _places(function: Function) -> Iterator[tuple[ast.AST, str, int | None, ast.stmt | ast.expr]]:
    """Yield every statement and expression within the body, with its place in the tree."""
    stack: list[ast.AST] = [function]
    while stack:
        parent = stack.pop()
        fields = ("body",) if isinstance(parent, Function) else parent._fields
        for field in fields:
            if field in ("annotation", "returns", "decorator_list", "args", "type_params"):
                continue
            value = getattr(parent, field, None)
            children = value if isinstance(value, list) else [value]
            for index, child in enumerate(children):
                if not isinstance(child, ast.AST):
                    continue
                if isinstance(child, ast.stmt | ast.expr):
                    yield parent, field, index if isinstance(value, list) else None, child
                if not isinstance(child, UNSEEN) and not _is_talk(child):
                    stack.append(child)
        if isinstance(parent, ast.Call):
            # `args` of a call are values, those of a function are names.
            for index, child in enumerate(parent.args):
                yield parent, "args", index, child
                if not isinstance(child, UNSEEN):
                    stack.append(child)


def _changes(node: ast.AST) -> Iterator[ast.stmt | ast.expr]:
    match node:
        case ast.Compare(left, [operator, *others], comparators):
            changed = COMPARISONS[type(operator)]()
            yield ast.Compare(left, [changed, *others], comparators)
        case ast.BoolOp(operator, values):
            yield ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.BinOp(left, operator, right) if type(operator) in OPERATORS:
            yield ast.BinOp(left, OPERATORS[type(operator)](), right)
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.Name(name) if name in NAMES:
            yield ast.Name(NAMES[name], ast.Load())
        case ast.IfExp(test, body, otherwise):
            yield ast.IfExp(ast.UnaryOp(ast.Not(), test), body, otherwise)
        case ast.stmt():
            yield from _changed_statements(node)


def _changed_statements(node: ast.stmt) -> Iterator[ast.stmt]:
    match node:
        case ast.If(ast.Compare() | ast.BoolOp() | ast.UnaryOp(op=ast.Not())):
            pass  # Its condition is changed as an expression.
        case ast.If(test, body, otherwise):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, otherwise)
        case ast.Return(value) if value is not None and not _is_none(value):
            yield ast.Return(ast.Constant(None))
        case ast.AugAssign(target, operator, value) if type(operator) in OPERATORS:
            yield ast.AugAssign(target, OPERATORS[type(operator)](), value)
            yield ast.Pass()
        case ast.Assign([ast.Attribute() | ast.Subscript()]) | ast.Delete() | ast.Raise():
            yield ast.Pass()
        case ast.Expr(ast.Call() | ast.Await()) if not _is_talk(node.value):
            yield ast.Pass()
        case ast.Continue():
            yield ast.Break()
        case ast.Break():
            yield ast.Continue()


def _is_talk(node: ast.AST) -> bool:
    """Whether this is a call of a logger."""
    if not isinstance(node, ast.Call):
        return False
    names = {each.id for each in ast.walk(node.func) if isinstance(each, ast.Name)}
    names |= {each.attr for each in ast.walk(node.func) if isinstance(each, ast.Attribute)}
    return bool(names & TALK)


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _text(node: ast.AST) -> str:
    return ast.unparse(node).partition("\n")[0][:70]
