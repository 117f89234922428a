"""Words of errors: every message that the package raises is a sentence."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

import pydiffgeo
from pydiffgeo import errors
from pydiffgeo.errors import lookup, nearest, repeated

PACKAGE = Path(pydiffgeo.__file__).parent
OURS = {
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, Exception)
}
RAISED = OURS | {"TypeError", "RuntimeError"}  # settings add it to a ValueError
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Scope:
    """What names stand for where a message is made: in functions, from the inner one, in a file."""

    file: Path | None
    tree: ast.Module
    functions: list[Function] = field(default_factory=list)
    caught: dict[str, ast.expr] = field(default_factory=dict)

    def values(self, name: str) -> list[tuple[ast.expr, Scope]] | None:
        """Return all that a name is ever given; None for what is not seen, such as an argument."""
        if name in self.caught:
            return [(self.caught[name], self)]
        for k, place in enumerate([*self.functions, self.tree]):
            inner = Scope(self.file, self.tree, self.functions[k:])
            found = [(value, inner) for value in assigned(place, name)]
            if found:
                return found
            if isinstance(place, Function) and name in parameters(place):
                return None
        home = self.home(name)
        return home.values(name) if home else None

    def function(self, name: str) -> tuple[Function, Scope] | None:
        """Return the function of a name, of this file or of one that it takes it from."""
        for node in ast.walk(self.tree):
            if isinstance(node, Function) and node.name == name:
                return node, Scope(self.file, self.tree, [node])
        home = self.home(name)
        return home.function(name) if home else None

    def home(self, name: str) -> Scope | None:
        """Return the file of the package that a name is imported from."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and any(
                name == (part.asname or part.name) for part in node.names
            ):
                return of_module(node.module or "", node.level, self.file)
        return None


def of_module(module: str, level: int, file: Path | None) -> Scope | None:
    if level and file is not None:
        base = file.parents[level - 1].joinpath(*filter(None, module.split(".")))
    elif module.split(".")[0] == "pydiffgeo":
        base = PACKAGE.joinpath(*module.split(".")[1:])
    else:
        return None
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return Scope(path, parsed(path))
    return None


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def parameters(function: Function) -> set[str]:
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return {a.arg for a in (*every, given.vararg, given.kwarg) if a is not None}


def own_nodes(place: ast.AST) -> Iterator[ast.AST]:
    """Give what stands in a function or file, without what stands in functions inside."""
    stack = list(ast.iter_child_nodes(place))
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, Function | ast.ClassDef | ast.Lambda):
            stack += ast.iter_child_nodes(node)


def assigned(place: ast.AST, name: str) -> Iterator[ast.expr]:
    """Give all values that a name is given in a function or a file, added parts included."""
    for node in own_nodes(place):
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    yield from unpacked(target, value, name)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                yield from unpacked(target, value, name)
            case ast.AugAssign(target=ast.Name(id=one), value=value) if one == name:
                yield value
            case ast.NamedExpr(target=ast.Name(id=one), value=value) if one == name:
                yield value


def unpacked(target: ast.expr, value: ast.expr, name: str) -> Iterator[ast.expr]:
    match target, value:
        case ast.Name(id=one), _ if one == name:
            yield value
        case ast.Tuple(elts=targets), ast.Tuple(elts=values) if len(targets) == len(values):
            for one, other in zip(targets, values, strict=True):
                yield from unpacked(one, other, name)


def endings(message: ast.expr, scope: Scope, depth: int = 0) -> Iterator[str]:
    """Give the last words of a message, "" where it may be empty, in braces what cannot be told."""
    if depth > 12:
        yield "{...}"
        return
    told = f"{{{ast.unparse(message)}}}"
    match message:
        case ast.Constant(value=str(text)):
            yield "" if text.startswith("\n") else text
        case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]) if text.startswith("\n"):
            yield ""  # lines of a list, which follow a sentence
        case ast.List(elts=[]) | ast.ListComp() | ast.GeneratorExp() | ast.Starred():
            yield ""  # likewise
        case ast.List(elts=parts) | ast.Tuple(elts=parts) if depth and not kinds_of_errors(parts):
            yield from of_parts(parts, scope, depth)
        case ast.JoinedStr(values=parts):
            yield from of_parts(
                [p.value if isinstance(p, ast.FormattedValue) else p for p in parts], scope, depth
            )
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            yield from of_parts([left, right], scope, depth)
        case ast.BoolOp(op=ast.Or(), values=[*first, last]):
            for one in first:
                yield from (text for text in endings(one, scope, depth + 1) if text)
            yield from endings(last, scope, depth + 1)
        case ast.IfExp(body=body, orelse=orelse):
            yield from endings(body, scope, depth + 1)
            yield from endings(orelse, scope, depth + 1)
        case ast.Name(id=name) if name in OURS:
            yield "."  # another error, whose words end in one
        case ast.Tuple(elts=parts) if kinds_of_errors(parts):
            yield "."
        case ast.Attribute(value=ast.Name() | ast.Subscript(), attr="message"):
            yield "."  # of a Problem, whose words are looked at where it is made
        case ast.Name(id=name):
            found = scope.values(name)
            if found is None:
                yield told
            for value, inside in found or ():
                yield from endings(value, inside, depth + 1)
        case ast.Attribute(value=ast.Name(id=module), attr=name):
            home = scope.home(module)
            inner = home and of_module(f"{package_name(home)}.{module}", 0, None)
            found = inner.values(name) if inner else None
            if found is None:
                yield told
            for value, inside in found or ():
                yield from endings(value, inside, depth + 1)
        case ast.Call(func=ast.Name(id="str"), args=[one]):
            yield from endings(one, scope, depth + 1)
        case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
            yield from of_call(message, name, scope, depth, told)
        case _:
            yield told


def kinds_of_errors(parts: list[ast.expr]) -> bool:
    return bool(parts) and all(isinstance(k, ast.Name) and k.id in OURS for k in parts)


def package_name(scope: Scope) -> str:
    assert scope.file is not None
    parts = scope.file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__")


def of_parts(parts: list[ast.expr], scope: Scope, depth: int) -> Iterator[str]:
    """Give the endings of texts in a row: of the one before, too, where the last may be empty."""
    for text in endings(parts[-1], scope, depth + 1) if parts else ("",):
        if text or len(parts) < 2:
            yield text
        else:
            yield from of_parts(parts[:-1], scope, depth)


def of_call(call: ast.Call, name: str, scope: Scope, depth: int, told: str) -> Iterator[str]:
    if name == "join":
        yield from endings(call.args[0], scope, depth + 1)
        return
    found = scope.function(name)
    if found is None:
        yield told
        return
    function, inside = found
    for node in own_nodes(function):
        if isinstance(node, ast.Return) and node.value is not None:
            yield from endings(node.value, inside, depth + 1)


def messages(source: str, file: Path | None = None) -> Iterator[tuple[int, str]]:
    """Give line and last words of each message of a raise statement, and of each `Problem`."""
    tree = ast.parse(source)

    def visit(
        node: ast.AST, functions: list[Function], caught: dict[str, ast.expr]
    ) -> Iterator[tuple[int, str]]:
        said: list[ast.expr] = []
        match node:
            case ast.Raise(exc=ast.Call(func=ast.Name(id=name), args=[message, *_])) if (
                name in RAISED
            ):
                said = [message]
            case ast.Call(func=ast.Name(id="Problem"), args=[_, _, _, _, _, _, message]):
                said = [message]
            case ast.ExceptHandler(name=str(name), type=ast.expr() as kind):
                caught = {**caught, name: kind}
        for message in said:
            for text in endings(message, Scope(file, tree, functions, caught)):
                if text:  # else there is none
                    yield node.lineno, text
        if isinstance(node, Function):
            functions = [node, *functions]
        for child in ast.iter_child_nodes(node):
            yield from visit(child, functions, caught)

    yield from visit(tree, [], {})


def ends_well(text: str) -> bool:
    """Return whether a message may end so: as a sentence does, or before the lines of a list."""
    return text.rstrip().endswith((".", "?")) or text.endswith(":\n")


@pytest.mark.parametrize(
    "part", sorted({path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")})
)
def test_every_message_ends_in_a_full_stop(part):
    paths = [PACKAGE / part] if part.endswith(".py") else sorted((PACKAGE / part).rglob("*.py"))
    found = [
        (path, line, text)
        for path in paths
        for line, text in messages(path.read_text(encoding="utf-8"), path)
    ]
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line}: ...{text[-60:]!r}"
        for path, line, text in found
        if not ends_well(text)
    ]
    assert not wrong, "\n".join(wrong)


RULE = [
    ('raise DataError("a") from None', ["a"]),
    ('raise DataError(f"{x} b." f" {y}")', ["{y}"]),
    ('raise DataError("x. " + ("y." if z else f"z"))', ["z"]),
    ('raise OSError("any")\nraise E(t)\nraise DataError("c.")', []),
    ('remedy = "Do it"\nraise DataError(f"a. {remedy}")', ["Do it"]),
    ('remedy = "Do it."\nraise DataError(f"a. {remedy}")', []),
    ('why = "a; do it."\nwhy += " Or this"\nraise DataError(f"b: {why}")', [" Or this"]),
    ('def f(why):\n    raise DataError(f"b: {why}")', ["{why}"]),
    ('more = " and 2 more" if k else ""\nraise DataError(f"a{more}")', [" and 2 more", "a"]),
    ('more = " More." if k else ""\nraise DataError(f"a.{more}")', []),
    ('ANEW = "again"\ndef f():\n    raise DataError(f"a, {ANEW}")', ["again"]),
    ("from pydiffgeo.training.checkpoint import ANEW\nraise DataError(f'a, {ANEW}')", []),
    ("from pydiffgeo.errors import nearest\nraise DataError(f'a{nearest(b, c)}')", []),
    ('def end(x):\n    return "so" if x else "."\nraise DataError(f"a{end(1)}")', ["so"]),
    ('try:\n    f()\nexcept OSError as e:\n    raise DataError(f"a: {e}")', ["{OSError}"]),
    ('try:\n    f()\nexcept DataError as e:\n    raise DataError(f"a: {e}")', []),
    ('raise DataError("\\n".join(["a.", *lines]))', []),
    ('raise DataError("\\n".join(["a", *lines]))', ["a"]),
    ('raise DataError("of them:\\n" + "\\n".join(x for x in lines))', []),
    ('Problem("kind", site, name, "", "", 0, f"{site} is odd")', [" is odd"]),
]


@pytest.mark.parametrize("source, wrong", RULE)
def test_the_rule_sees_what_is_wrong(source, wrong):
    assert [text for _, text in messages(source) if not ends_well(text)] == wrong


def test_a_name_that_is_not_known_ends_a_sentence():
    assert (
        nearest("lom", ["loam", "clay"]) == "; did you mean 'loam'?"
        and nearest("qqq", ["loam"]) == "."
    )
    with pytest.raises(errors.UnknownName, match=r"^unknown soil 'qqq'\. Known: clay, loam\.$"):
        lookup({"loam": 1, "clay": 2}, "qqq", "soil")


def test_what_is_repeated_is_named_once_in_order_and_in_no_time():
    names = [f"u{k}" for k in range(200_000)]  # each counted in turn would take hours
    assert repeated([*names, "u7", "u3", "u7"]) == ["u3", "u7"]
    assert repeated(names) == []
