"""Words of errors: every message that the package raises is a sentence."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import pydiffgeo
from pydiffgeo import errors
from pydiffgeo.errors import lookup, nearest

PACKAGE = Path(pydiffgeo.__file__).parent
OURS = {
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, Exception)
}
RAISED = OURS | {
    "TypeError",
    "RuntimeError",
    "NotImplementedError",
}  # settings add it to a ValueError
SENTENCES = {"nearest", "_instead", "longest_gap"}  # functions whose text ends a sentence
# names of texts that end one: another error, a hint, lines of a list
PARTS = {"error", "hint", "listed", "more", "ROAD_OUT", "ANEW", "remedy", "why"}


def endings(message: ast.expr) -> Iterator[str | None]:
    """Give the last words of a message.

    None where they are those of another text that is a sentence, or made elsewhere.
    """
    match message:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=[*_, ast.Constant(value=str(text))]):
            yield text
        case ast.JoinedStr(values=[*_, ast.FormattedValue(value=ast.Call(func=ast.Name(id=name)))]):
            yield None if name in SENTENCES else f"{{{name}(...)}}"
        case ast.JoinedStr(values=[*_, ast.FormattedValue(value=ast.Name(id=name))]):
            yield None if name in PARTS else f"{{{name}}}"
        case ast.JoinedStr(values=[*_, ast.FormattedValue(value=ast.Attribute(attr=name))]) if (
            name in PARTS
        ):
            yield None
        case ast.JoinedStr(values=[*_, ast.FormattedValue() as last]):
            yield f"{{{ast.unparse(last.value)}}}"
        case ast.BinOp(op=ast.Add(), right=right):
            yield from endings(right)
        case ast.IfExp(body=body, orelse=orelse):
            yield from endings(body)
            yield from endings(orelse)
        case _:
            yield None


def messages(source: str) -> Iterator[tuple[int, str]]:
    """Give line and last words of each message of a raise statement."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Raise(exc=ast.Call(func=ast.Name(id=name), args=[message, *_])) if (
                name in RAISED
            ):
                yield from ((node.lineno, text) for text in endings(message) if text is not None)


@pytest.mark.parametrize(
    "part", sorted({path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")})
)
def test_every_message_ends_in_a_full_stop(part):
    paths = [PACKAGE / part] if part.endswith(".py") else sorted((PACKAGE / part).rglob("*.py"))
    found = [
        (path, line, text)
        for path in paths
        for line, text in messages(path.read_text(encoding="utf-8"))
    ]
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line}: ...{text[-60:]!r}"
        for path, line, text in found
        if not text.endswith(".")
    ]
    assert not wrong, "\n".join(wrong)


def test_the_rule_sees_what_is_wrong():
    source = (
        'raise DataError("a") from None\nraise DataError(f"{x} b." f" {y}")\nraise '
        'DataError(f"{nearest(a, b)}")\n'
    )
    source += (
        'raise DataError("x. " + ("y." if z else f"z"))\nraise OSError("any")\nraise '
        'E(t)\nraise DataError("c.")\n'
    )
    assert [(line, text) for line, text in messages(source) if not text.endswith(".")] == [
        (1, "a"),
        (2, "{y}"),
        (4, "z"),
    ]


def test_a_name_that_is_not_known_ends_a_sentence():
    assert (
        nearest("lom", ["loam", "clay"]) == "; did you mean 'loam'?"
        and nearest("qqq", ["loam"]) == "."
    )
    with pytest.raises(errors.UnknownName, match=r"^unknown soil 'qqq'\. Known: clay, loam\.$"):
        lookup({"loam": 1, "clay": 2}, "qqq", "soil")
