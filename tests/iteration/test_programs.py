"""The program in an answer: each form is one line of FORMS, tried on every program of PROGRAMS."""

import ast
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iteration.programs import bound, defined, is_code, loaded, source_of

# (what the model was to complete, the rest of it, the function's name)
PROGRAMS = {
    "plain": ("import math\n\ndef area(r):\n    '''Area.'''\n", "    return math.pi * r ** 2\n", "area"),
    "branches": (
        'from typing import List\n\n\ndef best(xs: List[int]) -> int:\n    """ The best.\n    >>> best([1])\n    1\n    """\n',
        "    found = 0\n    for x in xs:\n        if x > found:\n            found = x\n\n    return found\n",
        "best",
    ),
    "helper before": ("def double(x):\n    return 2 * x\n\ndef four(x):\n", "    return double(double(x))\n", "four"),
    "helper behind": ("def odd(x):\n", "    return not even(x)\n\n\ndef even(x):\n    return x % 2 == 0\n", "odd"),
    "tabs": ("def f(x):\n", "\tif x:\n\t\treturn 1\n\treturn 2\n", "f"),
    "text with lines": ("def g():\n", "    return '''one\ntwo\n  three'''\n", "g"),
    "decorated": (
        "import functools\n\n@functools.lru_cache\ndef fib(n):\n",
        "    return n if n < 2 else fib(n - 1) + fib(n - 2)\n",
        "fib",
    ),
}


def session(code):
    """As typed into the interpreter."""
    return "".join(f"{'... ' if line[:1].isspace() else '>>> '}{line}".rstrip() + "\n" for line in code.splitlines())


INDENT = {"tabs"}  # not to be indented by blanks
TEXTS = {"text with lines"}  # whose lines must not be indented


def indented(text, by="    "):
    return textwrap.indent(text, by, lambda line: True)


# name: (the answer, from the rest and the whole; programs that it cannot hold)
FORMS = {
    "the rest": (lambda rest, whole: rest, ()),
    "the whole": (lambda rest, whole: whole, ()),
    "the rest, then a closing fence": (lambda rest, whole: rest + "```", ()),
    "the rest, a closing fence and prose": (lambda rest, whole: rest + "```\n\nThis works because it's right.", ()),
    "the rest, a closing fence and a use of it": (lambda rest, whole: rest + "```\nUse:\n```python\nprint(1)\n```\n", ()),
    "the rest and prose": (lambda rest, whole: rest + "\nThis is it.\nIt's simple.\n", ()),
    "the rest behind prose": (lambda rest, whole: "Here is the body:\n" + rest, ()),
    "the rest, its first indentation lost": (lambda rest, whole: rest.strip(), INDENT),
    "the rest in a fence": (lambda rest, whole: f"```python\n{rest}```", ()),
    "the rest in tags": (lambda rest, whole: f"<answer>\n{rest}</answer>", ()),
    "the whole in tags": (lambda rest, whole: f"I think.\n<answer>\n{whole}</answer>", ()),
    "the whole in tags on their lines": (lambda rest, whole: f"<answer>{whole}</answer> Done.", ()),
    "tags that are not closed": (lambda rest, whole: f"<answer>\n{whole}", ()),
    "a fence in tags": (lambda rest, whole: f"<answer>\n```python\n{whole}```\n</answer>", ()),
    "tags in a fence's prose": (lambda rest, whole: f"```python\n{whole}```\nso <answer>\n```python\n{whole}```</answer>", ()),
    "python": (lambda rest, whole: f"Here:\n```python\n{whole}```\nDone.", ()),
    "python with a blank": (lambda rest, whole: f"``` python\n{whole}```", ()),
    "PYTHON": (lambda rest, whole: f"```PYTHON\n{whole}```", ()),
    "Python3": (lambda rest, whole: f"```Python3\n{whole}```", ()),
    "py": (lambda rest, whole: f"```py\n{whole}```", ()),
    "braces": (lambda rest, whole: f"```{{.python}}\n{whole}```", ()),
    "a title": (lambda rest, whole: f'```python title="a.py"\n{whole}```', ()),
    "plain fence": (lambda rest, whole: f"```\n{whole}```", ()),
    "tildes": (lambda rest, whole: f"~~~python\n{whole}~~~", ()),
    "four ticks": (lambda rest, whole: f"````python\n{whole}````", ()),
    "carriage returns": (lambda rest, whole: f"Here:\n```python\n{whole}```\nDone.".replace("\n", "\r\n"), ()),
    "carriage returns behind a blank": (lambda rest, whole: f" ```python\n{whole} ```\n".replace("\n", "\r\n"), ()),
    "an indented fence": (lambda rest, whole: f"1. Do:\n\n   ```python\n{indented(whole, '   ')}   ```\n", INDENT | TEXTS),
    "a fence in a list": (lambda rest, whole: f"- ```python\n{indented(whole, '  ')}  ```\n", INDENT | TEXTS),
    "a quoted fence": (lambda rest, whole: f"> ```python\n{indented(whole, '> ')}> ```\n", ()),
    "a fence behind text": (lambda rest, whole: f"Here it is: ```python\n{whole}```\n", ()),
    "a fence closed on the last line": (lambda rest, whole: f"```python\n{whole.rstrip()}```", ()),
    "a fence closed in bold": (lambda rest, whole: f"```python\n{whole}```**", ()),
    "a fence that is not closed": (lambda rest, whole: f"```python\n{whole}", ()),
    "prose around it": (lambda rest, whole: f"Here is the solution:\n\n{whole}\nThis works because it's right.\n", ()),
    "one word before it": (lambda rest, whole: f"Solution\n\n{whole}", ()),
    "one word behind it": (lambda rest, whole: f"{whole}\nDone\n", ()),
    "output behind it": (lambda rest, whole: f"```python\n{whole}```\nOutput:\n```text\n3\n```", ()),
    "plain output behind it": (lambda rest, whole: f"```python\n{whole}```\nOutput:\n```\n3\n```", ()),
    "output before it": (lambda rest, whole: f"It prints\n```\n3\n```\nwith\n```python\n{whole}```\n", ()),
    "both plain": (lambda rest, whole: f"```\n{whole}```\nOutput:\n```\nYES\nNO\n```", ()),
    "no fence but for the output": (lambda rest, whole: f"{whole}\nOutput:\n```\n3\n```\n", ()),
    "a shell behind it": (lambda rest, whole: f"```python\n{whole}```\nRun:\n```bash\npython a.py\n```\n", ()),
    "a use behind it": (lambda rest, whole: f"```python\n{whole}```\nUse:\n```python\nprint(1)\n```\n", ()),
    "end of text": (lambda rest, whole: whole + "<|im_end|>", ()),
    "end of text behind a fence": (lambda rest, whole: f"```python\n{whole}```<|endoftext|>\n", ()),
    "a byte order mark": (lambda rest, whole: "\ufeff" + whole, ()),
    "a byte order mark in a fence": (lambda rest, whole: f"```python\n\ufeff{whole}```", ()),
    "a session": (lambda rest, whole: session(whole), TEXTS),
    "a session and its output": (lambda rest, whole: f"Type:\n```pycon\n{session(whole)}>>> 1 + 2\n3\n```\nDone.", TEXTS),
    "a session of a use behind it": (lambda rest, whole: f"~~~\n{whole}~~~\nUse:\n~~~\n>>> f(2)\n4\n~~~", ()),
    "a session of a use before it": (lambda rest, whole: f"```python\n>>> f(2)\n4\n```\n```python\n{whole}```", ()),
    "a fence in a longer fence": (lambda rest, whole: f"````markdown\nText\n```python\n{whole}```\n````", ()),
    "a fence in a fence": (lambda rest, whole: f"```markdown\nText\n```python\n{whole}```\n```", ()),
    "a fence in another kind of fence": (lambda rest, whole: f"~~~\n```python\n{whole}```\n~~~", ()),
    "a fence in a text of the program": (lambda rest, whole: f'```python\n"""\nUse:\n```\nf(2)\n```\n"""\n{whole}```', ()),
    "a use before it": (lambda rest, whole: f"Example:\n```python\nprint(1)\n```\nNow:\n```python\n{whole}```", ()),
    "brackets": (lambda rest, whole: f"[BEGIN]\n{whole}[DONE]", ()),
    "html": (lambda rest, whole: f"<pre><code>\n{whole}</code></pre>", ()),
}


def function(source, name):
    """The last function of that name, and the names that the module binds."""
    tree = ast.parse(source)
    last = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name][-1]
    return ast.dump(last), defined(tree)


@pytest.mark.parametrize("form", FORMS)
def test_forms(form):
    write, cannot = FORMS[form]
    for kind, (prefix, rest, name) in PROGRAMS.items():
        if kind in cannot:
            continue
        expected, names = function(prefix + rest, name)
        found, more = function(source_of(write(rest, prefix + rest), prefix, (name,)), name)
        assert found == expected and names <= more, kind


@pytest.mark.parametrize("form", [form for form in FORMS if "rest" not in form])
def test_forms_without_anything_to_complete(form):
    write, cannot = FORMS[form]
    for kind, (prefix, rest, name) in PROGRAMS.items():
        if kind not in cannot:
            assert function(source_of(write(rest, prefix + rest), "", (name,)), name)[0] == function(prefix + rest, name)[0], (
                kind
            )


PROGRAM = "n = int(input())\nfor i in range(n):\n    print(i)\n"


@pytest.mark.parametrize("form", [form for form in FORMS if "rest" not in form])
def test_whole_programs_in_the_same_forms(form):
    found = ast.parse(source_of(FORMS[form][0](PROGRAM, PROGRAM))).body
    found = [node for node in found if not (isinstance(node, ast.Expr) and isinstance(node.value, (ast.Constant, ast.BinOp)))]
    assert ast.dump(ast.Module(found, [])) == ast.dump(ast.parse(PROGRAM))


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("First\n```python\ndef g(): pass\n```\n```python\ndef f(): return 1\n```", ("f",), "def f(): return 1\n"),
        ("```python\ndef f(): return 1\n```\nBetter:\n```python\ndef f(): return 2\n```", ("f",), "def f(): return 2\n"),
        (
            "```python\ndef g(): return 1\n```\nthen\n```python\ndef f(): return g()\n```",
            ("f",),
            "def g(): return 1\n\ndef f(): return g()\n",
        ),
        ("```python\nf = lambda: 1\n```\n```python\nf()\n```", ("f",), "f = lambda: 1\n"),
        ("```python\nfrom math import gcd\n```", ("gcd",), "from math import gcd\n"),
        (
            "```python\nclass Solution:\n    def f(self): pass\n```",
            ("f", "Solution"),
            "class Solution:\n    def f(self): pass\n",
        ),
        ("def f():\n    return '```'", ("f",), "def f():\n    return '```'"),
        (
            "import os\n\nThen:\n\ndef f():\n    return os.name\n\nprint(f())",
            ("f",),
            "import os\n\ndef f():\n    return os.name\n\nprint(f())",
        ),
        ("```cpp\nint f() { return 1; }\n```\n```python\nprint(1)\n```", (), "print(1)\n"),
        ("Inline ```print(1)``` only", (), "print(1)"),
        ("```python\nprint(input())\n```\nExample:\n```python\nprint('3')\n```", (), "print(input())\n"),
    ],
)
def test_which_piece_is_meant(text, names, expected):
    assert source_of(text, "", names) == expected


@pytest.mark.parametrize(
    "text", ["", "I do not know.", "The answer is 5", "```text\n5\n```", "```cpp\nint main() {}\n```", "def f(x) return"]
)
def test_where_there_is_no_program_none_is_made_up(text):
    found = source_of(text, "", ("f",))
    assert not is_code(found) and found.strip() in text


def test_a_use_is_not_taken_for_the_rest_of_a_function():
    prefix = "def f(x):\n    '''Doc.'''\n"
    assert source_of("    return x\n```\nso\n```python\nprint(f(1))\n```", prefix, ("f",)) == prefix + "    return x\n"
    assert "print" not in source_of("```python\ndef f(x):\n    return 1\n```\n```python\nprint(f(1))\n```", prefix, ("f",))


def test_names():
    tree = ast.parse(
        "import a.b as c, d.e\nfrom x import y\nz: int = 1\nif z:\n    def f(p):\n        q = r\nfor i in s: pass\n"
    )
    assert defined(tree) == {"c", "d", "y", "z", "f", "i"}
    assert bound(tree) == {"c", "d", "y", "z", "f", "i", "p", "q"}
    assert loaded(tree) == {"int", "z", "r", "s"}


@given(st.text(alphabet="`~ \n\t>-pythondef():=1\r<answer/>", max_size=120))
@settings(max_examples=200)
def test_any_text_gives_some_text(text):
    assert isinstance(source_of(text), str)
    source_of(text, "def f():\n", ("f",))
