"""The Python program in an answer: in a fence, between <answer> tags, amid prose, or as the rest of a text that was shown."""

from __future__ import annotations

import ast
import builtins
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

_FENCE = re.compile(r"(?P<lead>[ \t]*(?:>[ \t]?)*(?:(?:[-*+]|\d+[.)])[ \t]+)?)(?P<ticks>`{3,}|~{3,})[ \t]*(?P<info>[^`~]*)")
_OPENED_BEHIND_TEXT = re.compile(r"[^`]*(?P<ticks>`{3,})[ \t]*(?P<info>(?:python|py)\d*)\s*", re.IGNORECASE)
_INLINE = re.compile(r"```(?:python3?|py)?[ \t]*([^\n`]+?)```", re.IGNORECASE)
_TAGGED = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
_PROMPT = re.compile(r"^[ \t]*(?:>>>|\.\.\.)(?: (.*))?$", re.MULTILINE)  # in the interpreter
_END = re.compile(r"(?:<\|[\w ]+\|>|</s>|<eos>)\s*\Z")  # of a chat template
_PYTHON = re.compile(r"\W*(?:i?python|py)[\d.]*\b", re.IGNORECASE)
_READS = re.compile(r"\binput\s*\(|\bstdin\b|\bopen\(0")
_STARTS = re.compile(
    r"(?:def|class|async def|import|from|if|for|while|try|with|return|assert|del|global|raise|pass)\b|[@#]|\"\"\"|'''"
    r"|[A-Za-z_][\w.]*\s*(?:\(|\[.*\]\s*=|(?:[-+*/%|&^]|//|\*\*|<<|>>|:[^=]*)?=[^=]|,\s*\w+.*=)"
)
_GOES_ON = re.compile(r"(?:else|elif|except|finally)\b|[)\]}]|\s")
BUILTIN = frozenset(dir(builtins))
TRIES = 60  # of compiling a statement amid prose, which may be longer each time
LATER = 9  # fences that may close a program
FAILURES = 20  # of so many lines that seemed to begin one, before only single lines are tried


@dataclass
class _Piece:
    text: str
    python: bool = False  # its fence says so
    other: bool = False  # its fence names another language
    fenced: bool = True


def source_of(text: str, prefix: str = "", names: Sequence[str] = ()) -> str:
    """The program of an answer; where there is none, the text that comes nearest to one.

    prefix: what the model was to complete; its beginning stands before a program that defines the function itself. names: the
    program defines one of them; none: it is run as a whole.
    """
    text = _END.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\ufeff", ""))
    tagged = [each for each in _TAGGED.findall(text) if each.strip()]
    if tagged and not _compiles(prefix + text):
        text = tagged[-1].strip("\n")
    if prefix and names and _is_body(prefix, text):
        return prefix + text
    if _is_all_code(text) and not (prefix and names and not _defines(text, names)):
        return _behind(prefix, text, names)
    pieces = list(_pieces(text)) or [_Piece(text, fenced=False)]
    code = _named(pieces, prefix, names) if names else _whole(pieces)
    session = "" if code else "\n".join(_PROMPT.findall(text))
    if code is not None or is_code(session) and (not names or _defines(session, names)):
        return code or session
    fenced = [piece.text for piece in pieces if piece.fenced]
    ours = [piece.text for piece in pieces if piece.python]
    return (ours or [piece for piece in fenced if is_code(piece)] or fenced or [text])[-1]


def is_code(text: str) -> bool:
    """Whether it compiles and is more than names and constants, as words and sample output are."""
    tree = _compiles(text)
    plain = (ast.Name, ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.UnaryOp, ast.BinOp, ast.Compare, ast.Attribute)
    return bool(tree) and any(not (isinstance(node, ast.Expr) and isinstance(node.value, plain)) for node in tree.body)


def _is_all_code(text: str) -> bool:
    """Whether it is code without a line of one word, as `Done` or `[BEGIN]`, which compiles as well."""
    tree = _compiles(text)
    lines = [node.value for node in tree.body if isinstance(node, ast.Expr)] if tree else []
    lines = [line.elts[0] if isinstance(line, ast.List) and len(line.elts) == 1 else line for line in lines]
    return is_code(text) and not any(isinstance(line, ast.Name) for line in lines)


def defined(tree: ast.AST) -> set[str]:
    """Names that a module binds, not those inside its functions."""
    names: set[str] = set()
    todo = [tree]
    while todo:
        for node in ast.iter_child_nodes(todo.pop()):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                names.add(node.name)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif not isinstance(node, ast.Lambda):
                todo.append(node)
    return names


def bound(tree: ast.AST) -> set[str]:
    """Names that are bound anywhere in it: also arguments and what its functions bind."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    names |= {node.name for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.name}
    return names.union(*(defined(ast.Module([node], [])) for node in ast.walk(tree) if isinstance(node, ast.stmt)))


def loaded(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def needed(tree: ast.Module, names: set[str]) -> list[ast.stmt]:
    """The statements of a module that bind names, and those that these need."""
    names, kept = set(names), []
    for node in reversed(tree.body):
        if defined(ast.Module([node], [])) & names:
            kept.insert(0, node)
            names |= loaded(node)
    return kept


def called_in(tree: ast.AST) -> set[str]:
    """Names that are called."""
    return {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def _compiles(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, "answer.py", "exec")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _defines(text: str, names: Sequence[str]) -> bool:
    tree = _compiles(text)
    return bool(tree) and not defined(tree).isdisjoint(names)


def _behind(prefix: str, text: str, names: Sequence[str]) -> str:
    """A program that defines the function, behind what the prefix has before it: imports and helpers."""
    for name in names:
        head = re.search(rf"^(?:@.*\n)*(?:async\s+)?(?:def|class)\s+{re.escape(name)}\b", prefix, re.MULTILINE)
        if head:
            return prefix[: head.start()] + "\n" + text
    return text


def _is_body(prefix: str, text: str) -> bool:
    first = next((line for line in text.split("\n") if line.strip()), "")
    return first[:1].isspace() and bool(_compiles(prefix + text))


def _pieces(text: str) -> Iterator[_Piece]:
    """What stands before the first fence, if code may, and then all that stands between fences."""
    lines = text.split("\n")
    head: list[str] = []
    opened, ticks, quoted, block = None, "", False, []
    for at, line in enumerate(lines):
        fence = _FENCE.fullmatch(line.rstrip()) or (_OPENED_BEHIND_TEXT.fullmatch(line) if opened is None else None)
        info = fence["info"].strip(" \t*_.") if fence else ""
        if opened is None:
            if fence is None:
                head.append(line)
            else:
                if head and any(map(str.strip, head)):
                    yield _Piece("\n".join(head) + "\n", fenced=False)
                head, opened, ticks, block = [], info, fence["ticks"], []
                quoted = ">" in fence[0][: fence.start("ticks")] and line.lstrip().startswith(">")
        elif fence and fence["ticks"].startswith(ticks) and not info and not _in_text(block, lines[at:], line):
            yield _piece(block, opened)
            opened = None
        elif fence and _PYTHON.match(info) and not _PYTHON.match(opened):
            # The fence before had closed what the head began, or encloses this one.
            yield _Piece("\n".join(block), fenced=False)
            opened, ticks, block = info, fence["ticks"], []
        elif line.rstrip().endswith(ticks) and _compiles("\n".join([*block, line.rstrip()[: -len(ticks)]])):
            yield _piece([*block, line.rstrip()[: -len(ticks)]], opened)
            opened = None
        else:
            block.append(re.sub(r"^[ \t]*>[ \t]?", "", line) if quoted else line)
    if opened is not None:
        yield _piece(block, opened)
    elif head and any(map(str.strip, head)) and len(head) < len(lines):
        yield _Piece("\n".join(head), fenced=False)
    if "```" in text:
        yield from (_Piece(each, fenced=False) for each in _INLINE.findall(text))


def _in_text(block: list[str], rest: list[str], fence: str) -> bool:
    """Whether a fence stands in a text of the program that it seems to close, which compiles up to a later fence only."""
    ends = [at for at, line in enumerate(rest) if line.strip() == fence.strip()]
    return not _compiles("\n".join(block)) and any(_compiles("\n".join([*block, *rest[:end]])) for end in ends[1:LATER])


def _piece(lines: list[str], info: str) -> _Piece:
    text = "".join(line + "\n" for line in lines)
    python = bool(_PYTHON.match(info))
    least = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    if not _compiles(text) and _compiles(bare := "".join(line[min(least, len(line)) :] + "\n" for line in lines)):
        text = bare
    return _Piece(text, python, bool(info) and not python)


def _named(pieces: list[_Piece], prefix: str, names: Sequence[str]) -> str | None:
    """The last piece that defines one of the names, with earlier ones that it needs; else one that completes the prefix."""
    own = [piece if piece.fenced else replace(piece, text=_code_in(piece.text)) for piece in pieces]
    for fenced in (True, False):
        for at in reversed(range(len(own))):
            if own[at].fenced == fenced and _defines(own[at].text, names):
                return _behind(prefix, _with_helpers(own[at].text, [each.text for each in own[:at]]), names)
    if not prefix:
        return None
    bodies = [piece.text for piece in pieces if not piece.other]
    unindented = [text.lstrip() for text in bodies if _STARTS.match(text.lstrip())]
    repaired = [body for text in unindented for body in ("    " + text, textwrap.indent(text, "    "))]
    repaired += [textwrap.indent(textwrap.dedent(text), "    ") for text in bodies if text[:1].isspace()]
    candidates = [body for body in bodies + repaired if _is_body(prefix, body)] + [_cut(prefix, text) for text in bodies]
    return next((prefix + body for body in candidates if body), None)


def _whole(pieces: list[_Piece]) -> str | None:
    """The piece that is a whole program: fences tagged Python first; of several the last that reads input, else the last."""
    kinds = (
        [piece.text for piece in pieces if piece.python],
        [piece.text for piece in pieces if piece.fenced and not piece.python and not piece.other],
        [_code_in(piece.text) for piece in pieces if not piece.fenced],
    )
    kinds = [[text for text in texts if is_code(text)] for texts in kinds]
    for texts in ([text for text in texts if _READS.search(text)] for texts in kinds):
        if texts:
            return texts[-1]
    return next((texts[-1] for texts in kinds if texts), None)


def _with_helpers(text: str, earlier: list[str]) -> str:
    for other in reversed(earlier):
        tree, theirs = _compiles(text), _compiles(other)
        missing = loaded(tree) - bound(tree) - BUILTIN
        if theirs and missing & defined(theirs):
            text = other + "\n" + text
    return text


def _cut(prefix: str, text: str) -> str:
    """The part of a text that continues the prefix, without the prose before and after it."""
    lines = text.split("\n")
    first = next((i for i, line in enumerate(lines) if line[:1].isspace() and line.strip()), None)
    if first is None:
        return ""
    ends = [i for i in range(first + 1, len(lines)) if lines[i].strip() and not lines[i][0].isspace()] + [len(lines)]
    for end in reversed(ends[:TRIES]):
        body = "\n".join(lines[first:end])
        if _is_body(prefix, body):
            return body
    return ""


def _code_in(text: str) -> str:
    """The statements that stand amid prose."""
    if _is_all_code(text):
        return text
    lines, kept, i, failed = text.split("\n"), [], 0, 0
    while i < len(lines):
        end = _statement(lines, i, TRIES if failed < FAILURES else 1) if _STARTS.match(lines[i]) else 0
        failed += bool(_STARTS.match(lines[i]) and not end)
        kept += lines[i:end]
        i = end or i + 1
    return "\n".join(kept)


def _statement(lines: list[str], start: int, most: int) -> int:
    """The line after the statement that starts at `start`; 0 where `most` tries find none."""
    tries = 0
    for end in range(start + 1, len(lines) + 1):
        if end < len(lines) and (not lines[end].strip() or _GOES_ON.match(lines[end])):
            continue
        text = "\n".join(lines[start:end])
        if _compiles(text):
            return end if is_code(text) or text.startswith("#") else 0
        tries += 1
        if tries >= most:
            break
    return 0
