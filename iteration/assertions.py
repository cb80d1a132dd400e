"""Tests written as Python assertions: which of their names are the answer's, and how each assertion is recorded."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from types import CodeType

from iteration.programs import BUILTIN, bound, called_in, defined, loaded

# Builtins that tests put around a call of the answer's function, as in `assert set(f(3)) == {1, 2}`.
AROUND = ("set", "sorted", "list", "tuple", "dict", "next", "iter", "len", "isinstance", "type", "repr", "str")
AROUND += ("round", "abs", "int", "float", "bool", "all", "any")
_ASSERTS = re.compile(r"assert|fail|raises|check", re.IGNORECASE)  # functions of test libraries


class Assertions:
    """A spec's tests, and who defines the names that they use. Raises ValueError where they cannot grade any answer.

    codes: the tests, each with its result where it ran to its end and recorded none (`_silent`); asked: names that the answer
    has to define; names: the same, those first that are called; called: names that are called; setup: the setup code that runs
    with the tests; theirs: the part that runs with the answer, as it uses e.g. its classes; remote: names that tests use of it.
    """

    def __init__(self, entry: str, check: str, asserts: Sequence[str], setup: str, reference: Sequence[str]):
        trees = [ast.parse(text) for text in ([check] if check else asserts)]
        ours = self._split(ast.parse(setup), {*reference, entry})
        given = defined(ours)
        own = [node for node in ours.body if isinstance(node, ast.FunctionDef)]
        whole = ast.Module([*own, *(node for tree in trees for node in tree.body)], [])
        used = loaded(whole) - bound(whole)
        modules = _modules(whole, used - given)
        unknown = used - given - self.remote - BUILTIN - modules
        ours.body += [ast.Import([ast.alias(name)]) for name in sorted(modules)]
        if entry:
            self.asked, right = {entry}, unknown - {entry}
        else:
            known = used.intersection(reference)
            self.asked, right = asked_of(whole, (known - BUILTIN) | unknown or known or _outermost(trees))
        missing = right - given - modules
        if missing:
            raise ValueError(f"the tests use {', '.join(sorted(missing))}, which they do not define")
        functions = [node for node in whole.body if isinstance(node, ast.FunctionDef)]
        checks = [node for node in functions if node.name == "check"] if check else []
        if not self.asked or check and not checks:
            raise ValueError("no test asks the answer for anything")
        self.called = called_in(whole)
        self.names = sorted(self.asked, key=lambda name: (name not in self.called, name))
        self.remote &= used
        deciding = {node.name for node in functions if any(map(_decides, _outside(node.body)))}
        silent = [_silent(checks[-1].body if checks else tree.body, deciding) for tree in trees]
        rewritten = _Rewritten(self.asked, right)
        self.setup, *codes = (
            compile(ast.fix_missing_locations(rewritten.visit(tree)), "tests.py", "exec") for tree in (ours, *trees)
        )
        self.codes: list[tuple[CodeType, bool | None]] = list(zip(codes, silent, strict=True))

    def _split(self, setup: ast.Module, reference: set[str]) -> ast.Module:
        """Divide the setup's statements. Returns ours.

        A function that calls the answer's functions is ours, because it may compare what they return.
        """
        foreign = loaded(setup) - BUILTIN - bound(setup) | (loaded(setup) & reference - bound(setup))
        ours, theirs, self.remote = [], [], set()
        for node in setup.body:
            uses = loaded(node) & (foreign | self.remote)
            if uses and not (isinstance(node, ast.FunctionDef) and any(map(str.islower, called_in(node) & uses))):
                theirs.append(node)
                self.remote |= defined(ast.Module([node], []))
            else:
                ours.append(node)
        kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
        shared = [node for node in ours if isinstance(node, kinds)] if theirs else []
        self.theirs = ast.unparse(ast.Module([*shared, *theirs], []))
        return ast.Module(ours, [])


def _outermost(trees: list[ast.Module]) -> set[str]:
    """For tests that call builtins only: the one that they mean, which the answer has to define."""
    firsts = []
    for tree in trees:
        nodes = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]  # breadth first
        names = [node.id for node in nodes if isinstance(node, ast.Name) and node.id in BUILTIN]
        firsts += [next((name for name in names if name not in AROUND), names[0])] if names else []
    return {name for name, _ in Counter(firsts).most_common(1)}


def _silent(body: list[ast.stmt], deciding: set[str]) -> bool | None:
    """The result of a test that ran to its end and recorded none: passed where it can fail by itself, failed where no assertion
    was reached, None where it tests nothing."""
    nodes = list(_outside(body))
    if any(_decides(node, deciding) for node in nodes):
        return True
    return False if any(isinstance(node, ast.Assert) for node in nodes) else None


def _modules(tree: ast.AST, used: set[str]) -> set[str]:
    """Standard modules that tests use, as in `math.pi`, without importing them."""
    bases = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    plain = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in bases}
    return {name for name in used - BUILTIN - plain if name in sys.stdlib_module_names}


class _Rewritten(ast.NodeTransformer):
    """Tests with the answer's names set apart from all others, and with assertions that are recorded.

    A name that says what is right (`right`) is the answer's only inside what the answer is given.
    """

    def __init__(self, asked: set[str], right: set[str]):
        self._asked, self._right, self._inside = asked, right, False

    def visit_Name(self, node: ast.Name) -> ast.AST:
        theirs = isinstance(node.ctx, ast.Load) and node.id in self._asked and (self._inside or node.id not in self._right)
        return ast.copy_location(ast.Name(theirs_of(node.id), node.ctx), node) if theirs else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        outer, function = self._inside, self.visit(node.func)
        self._inside |= function is not node.func
        args, keywords = ([self.visit(each) for each in part] for part in (node.args, node.keywords))
        self._inside = outer
        return ast.copy_location(ast.Call(function, args, keywords), node)

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        text = ast.Constant(ast.unparse(node.test)[:120])
        holds, broke = (
            ast.Expr(ast.Call(ast.Name(name, ast.Load()), arguments, []))
            for name, arguments in (("__holds__", [self.visit(node.test), text]), ("__broke__", [text]))
        )
        return ast.Try([holds], [ast.ExceptHandler(ast.Name("__Exception__", ast.Load()), None, [broke])], [], [])

    def visit_Try(self, node: ast.Try) -> ast.AST | list[ast.AST]:
        """Where a handler of failed assertions decides itself, those in the body stay as they are."""
        handlers = [list(_outside(each.body)) for each in node.handlers if _catches(each)]
        if not any(_decides(each) or isinstance(each, ast.Assert) for nodes in handlers for each in nodes):
            return self.generic_visit(node)
        body, node.body = node.body, []
        node = self.generic_visit(node)
        visit, self.visit_Assert = self.visit_Assert, self.generic_visit
        node.body = [self.visit(each) for each in body]
        self.visit_Assert = visit
        done = ast.Call(ast.Name("__holds__", ast.Load()), [ast.Constant(True), ast.Constant("")], [])
        return [node, ast.Expr(done)]


def theirs_of(name: str) -> str:
    """What a name of the answer's is called in the tests' module, where no test can mean it."""
    return f"{name} of the answer"


def _catches(handler: ast.ExceptHandler) -> bool:
    kinds = {each.id for each in ast.walk(handler.type) if isinstance(each, ast.Name)} if handler.type else {"Exception"}
    return not kinds.isdisjoint(("AssertionError", "Exception", "BaseException"))


def _outside(nodes: list[ast.stmt]) -> Iterator[ast.AST]:
    """What statements consist of, apart from the functions and classes that they define."""
    todo: list[ast.AST] = list(nodes)
    while todo:
        yield (node := todo.pop())
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            todo += ast.iter_child_nodes(node)


def _decides(node: ast.AST, deciding: Set[str] = frozenset()) -> bool:
    """Whether a test fails by it: it raises, asserts False, or calls one of the functions `deciding`, or one that is named like
    those of unittest, numpy.testing and pytest."""
    never = isinstance(node, ast.Assert) and isinstance(node.test, ast.Constant) and not node.test.value
    called = getattr(node.func, "id", getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""
    return never or isinstance(node, ast.Raise) or called in deciding or bool(_ASSERTS.match(called))


def asked_of(tests: ast.Module, names: set[str]) -> tuple[set[str], set[str]]:
    """Of the names that tests use and do not define: (those that the answer has to define, those that say what is right).

    What says what is right must not be the answer's: values that are never called, as in `abs(f(1) - 2) < EPS`; a function
    whose truth is asserted of what another returns, as in `assert close(f(1), 2)`; what a result is compared with, as in
    `assert f(1) == Point(2, 3)`. A name may be both: `assert f(Point(1, 2)) == Point(2, 1)`.
    """
    functions = {name for name in names & called_in(tests) if not name[:1].isupper()}
    # A function may also only be passed on, as in `map(f, [1, 2])`.
    right = names - called_in(tests) if names & called_in(tests) else set()
    for node in ast.walk(tests):
        for each in _truths(node):
            name = each.func.id if isinstance(each, ast.Call) and isinstance(each.func, ast.Name) else ""
            if name in functions and (functions - {name}) & loaded(each):
                right.add(name)
        if isinstance(node, ast.Compare):
            one, other = (_outer(part, names) for part in ([node.left], node.comparators))
            if other & functions and not one & functions:
                one, other = other, one
            right |= other - one if one else set()
    asked = names - right
    calls = [node for node in ast.walk(tests) if isinstance(node, ast.Call) and loaded(node.func) & asked]
    given = [ast.Tuple([*node.args, *(each.value for each in node.keywords)]) for node in calls]
    return asked | {name for part in given for name in loaded(part) & right & called_in(part)}, right


def _outer(nodes: list[ast.expr], names: set[str]) -> set[str]:
    """Of the names, those that occur in expressions, apart from what the functions among them are given."""
    found, todo = set(), list(nodes)
    while todo:
        node = todo.pop()
        name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else getattr(node, "id", "")
        found |= {name} & names
        todo += () if name in names else ast.iter_child_nodes(node)
    return found


def _truths(node: ast.AST) -> Iterator[ast.expr]:
    """The expressions whose truth a statement looks at; also a call that stands alone."""
    todo = [node.value] if isinstance(node, ast.Expr) else [getattr(node, "test", None)]
    while todo:
        each = todo.pop()
        if isinstance(each, (ast.UnaryOp, ast.BoolOp)):
            todo += each.values if isinstance(each, ast.BoolOp) else [each.operand]
        elif each is not None:
            yield each
