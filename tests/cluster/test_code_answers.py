"""Answers that cheat, that are odd, and tests of every shape: what the code verifier says of each, in the real sandbox."""

# ruff: noqa: E501 - an answer stands on one line

import json

import pytest

from cluster.sandbox.walls import Sandbox, SandboxOptions, why_no_walls
from iteration.tasks.apps import Apps
from iteration.tasks.mbpp import Mbpp
from iteration.types import Problem
from iteration.verify.code import Code

pytestmark = pytest.mark.engine
C, W, F = "correct", "wrong", "failed"


def A(*tests, **more):
    """Assertions, without a reference solution."""
    return {"asserts": list(tests), **more}


def M(code, *tests, setup=""):
    """A row of MBPP, with a reference solution."""
    return json.loads(Mbpp.answer(Mbpp.__new__(Mbpp), {"test_list": list(tests), "test_setup_code": setup, "code": code}))


def N(check, **more):
    """A function that checks another, as in HumanEval."""
    return {"entry": "f", "check": check, **more}


def Q(**pairs):
    """A row of APPS that names a function."""
    return json.loads(Apps.answer(Apps.__new__(Apps), {"input_output": pairs}))


SQ = A("assert f(2) == 4", "assert f(3) == 9", names=["f"])
LI = A("assert f(3) == [1,2,3]")
ST = A("assert f('a') == 'b'")
TR = A("assert f(1)")
NT = A("assert not f(1)")
IN = A("assert 3 in f(1)")
FL = A("assert abs(f(1)-0.5) < 1e-6")
NE = A("assert f(1) != f(2)")
IS = A("assert isinstance(f(1), list) and f(1)[0] == 1")
EX = A("try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass")
P = {"inputs": ["3\n", "5\n"], "outputs": ["6\n", "10\n"]}
FN = {"entry": "f", "class": "Solution", "inputs": [[2], [3]], "outputs": [4, 9]}
LIE = "class L:\n  def __eq__(s,o): return True\n  def __sub__(s,o): return 0\n  def __bool__(s): return True\n  def __lt__(s,o): return True\n  def __contains__(s,o): return True\n  def __len__(s): return 3\n"
TWICE = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 9\n"
SQUARE = "def f(x): return x*x\n"

# what is returned and printed
VALUES = [
    (
        A("from fractions import Fraction", "assert f(1)==Fraction(1,2)"),
        "from fractions import Fraction as Q\ndef f(x): return Q(1,2)",
        C,
    ),
    (
        A("from fractions import Fraction", "assert f(1)==Fraction(1,2)"),
        "from fractions import Fraction as Q\ndef f(x): return Q(1,3)",
        W,
    ),
    (
        A("from decimal import Decimal", "assert f(1)==Decimal('0.5')"),
        "from decimal import Decimal\ndef f(x): return Decimal('0.50')",
        C,
    ),
    (
        A("from collections import deque", "assert f(1)==deque([1,2])"),
        "from collections import deque\ndef f(x): return deque([1,2])",
        C,
    ),
    (A("assert f(1)==[1,2]"), "from collections import deque\ndef f(x): return deque([1,2])", W),
    (
        A("import numpy as np", "assert (f(1)==np.array([1,2])).all()"),
        "import numpy as np\ndef f(x): return np.array([1,2])",
        C,
    ),
    (
        A("import numpy as np", "assert (f(1)==np.array([1,2])).all()"),
        "import numpy as np\ndef f(x): return np.array([1,3])",
        W,
    ),
    (A("assert f(1)==[1,2]"), "import numpy as np\ndef f(x): return np.array([1,2])", W),
    (
        A("assert f(1).x == 1 and f(1)==(1,2)"),
        "from collections import namedtuple\nP=namedtuple('P','x y')\ndef f(x): return P(1,2)",
        C,
    ),
    (
        A("import datetime", "assert f(1)==datetime.date(2020,1,2)"),
        "import datetime\ndef f(x): return datetime.date(2020,1,2)",
        C,
    ),
    (
        A("import datetime", "assert f(1)==datetime.datetime(2020,1,2,3)"),
        "import datetime\ndef f(x): return datetime.datetime(2020,1,2,3)",
        C,
    ),
    (A("from fractions import Fraction", "assert f(Fraction(1,2))==Fraction(1)"), "def f(x): return x*2", C),
    (A("assert f(1)"), "from collections import deque\ndef f(x): return deque()", W),
    (A("assert f(1)"), "import re\ndef f(x): return re.match('a','a')", C),
    (A("assert not f(1)"), "import re\ndef f(x): return re.match('a','a')", W),
    (A("assert f(1)"), "class A:\n def __bool__(s): return False\ndef f(x): return A()", W),
    (A("assert f(1)"), "class A:\n def __bool__(s): raise KeyError\ndef f(x): return A()", W),
    (A("assert not f(1)"), "class A:\n def __bool__(s): raise KeyError\ndef f(x): return A()", W),
    (
        A("from collections import OrderedDict", "assert f(1)==OrderedDict([(1,2),(2,3)])"),
        "from collections import OrderedDict\ndef f(x): return OrderedDict([(2,3),(1,2)])",
        W,
    ),
    (
        A("from collections import OrderedDict", "assert f(1)==OrderedDict([(1,2),(2,3)])"),
        "from collections import OrderedDict\ndef f(x): return OrderedDict([(1,2),(2,3)])",
        C,
    ),
    (A("assert f(1)=={'a':0}"), "from collections import defaultdict\ndef f(x):\n d=defaultdict(int);d['a'];return d", C),
    (
        A("assert f(1)==2"),
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n  x: int\ndef f(x): return P(2).x",
        C,
    ),
    (A("assert f(1) is True"), "def f(x): return 1", W),
    (A("assert f(1) == True"), "def f(x): return 1", C),
    (A("import math", "assert math.copysign(1,f(1)) == -1"), "def f(x): return -0.0", C),
    (A("import math", "assert math.isnan(f(1))"), "def f(x): return float('nan')", C),
    (A("assert list(map(f,[1,2]))==[]"), "def f(x): raise StopIteration", W),
    (
        {"inputs": [""], "outputs": ["7"]},
        "import threading\nimport time\ndef m():\n  time.sleep(.2)\n  print(7)\nthreading.Thread(target=m).start()",
        C,
    ),
    (
        {"inputs": [""], "outputs": ["7"]},
        "import atexit, os, sys, io\nsys.stdout=io.StringIO()\natexit.register(lambda: os.write(1, sys.stdout.getvalue().encode()))\nprint(7)",
        C,
    ),
    (
        {"inputs": ["3 4"], "outputs": ["7"]},
        "import sys\nout=open(1,'w')\nout.write(str(sum(map(int,sys.stdin.read().split()))))",
        C,
    ),
    (
        {"inputs": ["3 4"], "outputs": ["7"]},
        "import sys\nif __name__=='__main__':\n  a,b=map(int,open(0).read().split())\n  print(a+b)",
        C,
    ),
    ({"inputs": ["3 4"], "outputs": ["7"]}, "import sys\nassert len(sys.argv)==1\na,b=map(int,input().split())\nprint(a+b)", C),
    ({"inputs": [""], "outputs": ["a\x0cb"]}, "print('a\\nb')", W),
    ({"inputs": [""], "outputs": ["a\u2028b"]}, "print('a\\nb')", W),
    ({"inputs": [""], "outputs": ["a\nb"]}, "print('a\\x85b')", W),
    ({"inputs": [""], "outputs": ["a\nb"]}, "print('a\\r\\nb\\r\\n')", C),
    ({"inputs": [""], "outputs": ["a \nb\n\n"]}, "print('a  \\nb')", C),
    # APPS returned values
    (Q(fn_name="f", inputs=[[1]], outputs=[[1, 2]]), "def f(x): return (1,2)", C),
    (Q(fn_name="f", inputs=[[1]], outputs=[True]), "def f(x): return 1", C),
    (Q(fn_name="f", inputs=[[1]], outputs=["YES"]), "def f(x): return 'YES '", W),
    (Q(fn_name="f", inputs=[[1]], outputs=[[1]]), "def f(x): return 1", C),
    (Q(fn_name="f", inputs=[[1]], outputs=[[1]]), "def f(x): return [[1]]", W),
    (Q(fn_name="f", inputs=[[1]], outputs=[None]), "def f(x): pass", C),
    (Q(fn_name="f", inputs=[[1]], outputs=[[]]), "def f(x): return ()", C),
    (Q(fn_name="f", inputs=[[1]], outputs=[[]]), "def f(x): return None", W),
    (Q(fn_name="f", inputs=[[1]], outputs=[0]), "def f(x): return None", W),
    (Q(fn_name="f", inputs=[[1]], outputs=[0]), "def f(x): return ''", W),
    (Q(fn_name="f", inputs=[[1]], outputs=[0]), "def f(x): return False", C),
    (Q(fn_name="f", inputs=[[1]], outputs=[{"a": 1}]), "from collections import Counter\ndef f(x): return Counter('a')", C),
    (Q(fn_name="f", inputs=[[1]], outputs=[[1, 2]]), "from collections import deque\ndef f(x): return deque([1,2])", W),
    (Q(fn_name="f", inputs=[[1]], outputs=[[1, 2]]), "import numpy as np\ndef f(x): return np.array([1,2])", W),
    (Q(fn_name="f", inputs=[[1]], outputs=[0.5]), "from fractions import Fraction\ndef f(x): return Fraction(1,2)", C),
    (Q(fn_name="f", inputs=[[1]], outputs=[0.5]), "import numpy as np\ndef f(x): return np.float64(0.5)", C),
    (Q(fn_name="f", inputs=[[1]], outputs=[float("nan")]), "def f(x): return float('nan')", W),
    (Q(fn_name="f", inputs=[[1]], outputs=["a"]), "import numpy as np\ndef f(x): return np.array(['a','b'])", W),
    (Q(fn_name="f", inputs=[[1]], outputs=[[1, 2]]), "def f(x):\n  yield 1\n  yield 2", W),
    # answers that see or change the arguments
    (A("xs=[3,1]", "ys=f(xs)", "assert xs==[3,1] and ys==[1,3]"), "def f(x): return sorted(x)", C),
    # names
    (A("assert list(map(f,[1,2]))==[1,4]"), "def f(x): return x*x", C),
    (A("assert max(f(2),f(3))==9"), "max=lambda *a: 9\ndef f(x): return 0", W),
    (A("assert f(2)==4 and sum([f(1),f(2)])==5"), "def sum(x): return 5\ndef f(x): return 4", W),
    (A("assert str(f(2))=='4'"), "class str:\n def __init__(s,x): pass\n def __eq__(s,o): return True\ndef f(x): return 1", W),
    (A("assert repr(f(2))=='4'"), "class R:\n def __repr__(s): return '4'\ndef f(x): return R()", W),
    (A("assert type(f(2)) is int"), "type=lambda x: int\ndef f(x): return 'a'", W),
    (
        A("assert type(f(2)) == int and f(2)==4"),
        "class I(int):\n  pass\nI.__class__=int if False else I.__class__\ndef f(x): return I(5)",
        W,
    ),
    (M("import re\ndef f(s): return bool(re.match('a',s))", "assert f('a')", "assert not f('b')"), "def f(s): return s", W),
    (
        M("def f(s):\n  return 'Found' if s=='a' else 'No'", "assert f('a')==('Found')", "assert f('b')==('No')"),
        "def f(s): return ('Found','No')",
        W,
    ),
    (
        M("def is_ok(x): return x>1\ndef f(x): return x*2", "assert is_ok(f(1))==True"),
        "def is_ok(x): return True\ndef f(x): return 0",
        C,
    ),  # as in the data set's harness: both are asked for
    (
        M(
            "class P:\n  def __init__(s,a): s.a=a\ndef f(ps): return max(p.a for p in ps)",
            "assert f([P(1),P(5)])==5",
            "assert f([P(7)])==7",
        ),
        "class P:\n  def __init__(s,a): s.a=a\ndef f(ps): return max(p.a for p in ps)",
        C,
    ),
    (
        M(
            "class P:\n  def __init__(s,a): s.a=a\ndef f(ps): return max(p.a for p in ps)",
            "assert f([P(1),P(5)])==5",
            "assert f([P(7)])==7",
        ),
        "class P:\n  def __init__(s,a): s.a=a\ndef f(ps): return 5",
        W,
    ),
    (
        M("class P:\n  def __init__(s,a): s.a=a\ndef f(ps): return max(p.a for p in ps)", "assert f([P(1),P(5)])==5"),
        "def f(ps): return 5",
        W,
    ),
    (M("def f(n): return n", "assert f(10) == 10, 'hint'"), "def f(n): return n", C),
    (M("def f(n): return n", "assert (f(10) == 10), (f(9))"), "def f(n): return n", C),
    (M("def f(n): return n", "assert f(10)==10 or f(10)==11"), "def f(n): return 12", W),
    (M("def f(n): return n", "assert f(f(3))==3"), "def f(n): return n", C),
    (M("def f(n): return n", "assert f(f(3))==3"), "def f(n): return 4", W),
    (M("def f(n): return [n]", "assert f(1)[0]==1", "assert len(f(1))==1"), "def f(n): return {0:1}", C),
    (M("def f(n): return n", "x = 5", "assert f(x) == x"), "x=7\ndef f(n): return 7", W),
    (M("def f(n): return n", "f_ = f", "assert f_(3) == 3"), "def f(n): return n", C),
    (M("def f(n): return n", "f_ = f", "assert f_(3) == 3"), "def f(n): return 4", W),
    (M("def f(n): return n", "assert [f(i) for i in range(3)] == list(range(3))"), "def f(n): return 4", W),
    (
        M("def f(n): return n", "import random", "random.seed(0)", "x=random.random()", "assert f(x)==x"),
        "import random\nrandom.seed=lambda *a:None\ndef f(n): return .5",
        W,
    ),
    (M("def f(n): return n", "from operator import eq", "assert eq(f(1),1)"), "eq=lambda *a: True\ndef f(n): return 2", W),
    (M("def f(n): return n", "assert f(1).__eq__(1)"), "class E:\n def __eq__(s,o): return True\ndef f(n): return E()", W),
    (M("def f(n): return n", "assert 1 == f(1)"), "class E:\n def __eq__(s,o): return True\ndef f(n): return E()", W),
    (M("def f(n): return n", "assert f(1) in (1,2)"), "class E:\n def __eq__(s,o): return True\ndef f(n): return E()", W),
    (M("def f(n): return n", "assert f(1) in (1,2)"), "def f(n): return 2", C),
    (M("def f(n): return n", "assert not (f(1) - 1)"), "class E:\n def __sub__(s,o): return 0\ndef f(n): return E()", W),
    (M("def f(n): return n", "assert hash(f(1)) == hash(1)"), "class E:\n def __hash__(s): return 1\ndef f(n): return E()", W),
    (M("def f(n): return n", "assert f'{f(1)}' == '1'"), "class E:\n def __format__(s,o): return '1'\ndef f(n): return E()", W),
    (M("def f(n): return n", "assert float(f(1)) == 1.0"), "class E:\n def __float__(s): return 1.0\ndef f(n): return E()", W),
    (M("def f(n): return n", "assert sorted(f(1)) == [1]"), "class E(list):\n def sort(s): pass\ndef f(n): return E([2])", W),
    (M("def f(n): return n", "assert f(1) is f(1)"), "def f(n): return 1", C),
    # whole tests that import the answer by a module
    (A("from answer import f", "assert f(2)==4"), "def f(x): return x*x", F),
    (A("from solution import f", "assert f(2)==4"), "def f(x): return x*x", F),
]
# names of tests, and tests that assert in other ways
TESTS = [
    (A("assert sorted(f([3,1,2]))==[1,2,3]"), "def sorted(x): return [1,2,3]\ndef f(x): return 1", W),
    (A("assert len(f(3))==3"), "def len(x): return 3\ndef f(x): return [1]", W),
    (A("import math", "assert math.isclose(f(1),2)"), "import math\nmath.isclose=lambda *a,**k: True\ndef f(x): return 1", W),
    (A("from math import isclose", "assert isclose(f(1),2)"), "def isclose(*a): return True\ndef f(x): return 1", W),
    (A("from math import isclose", "assert isclose(f(1),2)"), "def f(x): return 2.0", C),
    (A("assert isclose(f(1),2)"), "def isclose(*a): return True\ndef f(x): return 1", F),
    (A("assert abs(f(1)-2)<EPS"), "EPS=1e9\ndef f(x): return 1", F),
    (A("EPS=1e-6", "assert abs(f(1)-2)<EPS"), "EPS=1e9\ndef f(x): return 1", W),
    (A("EPS=1e-6", "assert abs(f(1)-2)<EPS"), "EPS=1e9\ndef f(x): return 2", C),
    (A("def check(a,b):\n    assert a==b", "check(f(1),2)"), "def check(a,b): pass\ndef f(x): return 1", W),
    (A("def check(a,b):\n    assert a==b", "check(f(1),2)"), "def f(x): return 2", C),
    (A("assert_equal(f(1),2)"), "def assert_equal(a,b): pass\ndef f(x): return 1", F),
    (A("def assert_equal(a,b):\n    if a!=b: raise AssertionError", "assert_equal(f(1),2)"), "def f(x): return 2", C),
    (
        A("def assert_equal(a,b):\n    if a!=b: raise AssertionError", "assert_equal(f(1),2)"),
        "def f(x): return 3\ndef assert_equal(a,b): pass",
        W,
    ),
    (A("assert f(1)==2", setup="def assert_close(a,b): assert abs(a-b)<1"), "def f(x): return 2", C),
    (
        A("assert_close(f(1),2)", setup="def assert_close(a,b): assert abs(a-b)<1"),
        "def f(x): return 5\ndef assert_close(*a): pass",
        W,
    ),
    (A("assert_f(1,2)", setup="def assert_f(a,b): assert f(a)==b"), "def f(x): return 5\ndef assert_f(*a): pass", W),
    (A("assert_f(1,2)", setup="def assert_f(a,b): assert f(a)==b", names=["f"]), "def f(x): return 2", C),
    (A("assert_f(1,2)", setup="def assert_f(a,b): assert f(a)==b"), LIE + "def f(x): return L()", W),
    (M("EPS=1e-3\ndef f(x): return 2.0", "assert abs(f(1)-2)<EPS"), "EPS=1e9\ndef f(x): return 1", W),
    (M("EPS=1e-3\ndef f(x): return 2.0", "assert abs(f(1)-2)<EPS"), "def f(x): return 2.0", C),
    (
        M("def close(a,b): return abs(a-b)<1e-3\ndef f(x): return 2.0", "assert close(f(1),2)"),
        "def close(a,b): return True\ndef f(x): return 1",
        W,
    ),
    (
        M("TOL=1e-3\ndef close(a,b): return abs(a-b)<TOL\ndef f(x): return 2.0", "assert close(f(1),2)"),
        "def f(x): return 2.0",
        C,
    ),
    (
        M("from collections import namedtuple\nP=namedtuple('P','x y')\ndef f(x): return P(1,2)", "assert f(1)==P(1,2)"),
        "P=lambda *a: 0\ndef f(x): return 0",
        W,
    ),
    (
        M("from collections import namedtuple\nP=namedtuple('P','x y')\ndef f(x): return P(1,2)", "assert f(1)==P(1,2)"),
        "from collections import namedtuple\nP=namedtuple('P','x y')\ndef f(x): return P(1,2)",
        C,
    ),
    (
        M(
            "from collections import namedtuple\nP=namedtuple('P','x y')\ndef f(p): return P(p.y,p.x)",
            "assert f(P(1,2))==P(2,1)",
        ),
        "from collections import namedtuple\nP=namedtuple('P','x y')\ndef f(p): return P(p.y,p.x)",
        C,
    ),
    (
        M(
            "from collections import namedtuple\nP=namedtuple('P','x y')\ndef f(p): return P(p.y,p.x)",
            "assert f(P(1,2))==P(2,1)",
        ),
        "P=lambda *a: 0\ndef f(p): return 0",
        W,
    ),
    (M("def g(x): return 2\ndef f(x): return 2", "assert f(1)==g(1)"), "def g(x): return 7\ndef f(x): return 7", W),
    (M("def g(x): return 2\ndef f(x): return 2", "assert f(1)==g(1)"), "def f(x): return 2", C),
    (
        M("class Node:\n  def __init__(s,d): s.d=d\ndef ok(n): return n.d==1", "assert ok(Node(1))", "assert not ok(Node(2))"),
        "class Node:\n  def __init__(s,d): s.d=d\ndef ok(n): return n.d==1",
        C,
    ),
    (
        M("class Node:\n  def __init__(s,d): s.d=d\ndef ok(n): return n.d==1", "assert ok(Node(1))", "assert not ok(Node(2))"),
        "class Node:\n  def __init__(s,d): s.d=d\ndef ok(n): return True",
        W,
    ),
    (
        M("def enc(s): return s[::-1]\ndef dec(s): return s[::-1]", "assert dec(enc('ab'))=='ab'"),
        "def enc(s): return s\ndef dec(s): return s",
        C,
    ),
    # HumanEval form
    (N(TWICE), SQUARE + "import builtins\nbuiltins.AssertionError=ValueError", C),
    (N(TWICE), LIE + "def f(x): return L()", W),
    (N(TWICE), "class I(int):\n  def __eq__(s,o): return True\n  __hash__=int.__hash__\ndef f(x): return I(4)", W),
    (N(TWICE), "import atexit,os\natexit.register(os._exit,0)\ndef f(x): return 1", W),
    (N(TWICE), "import sys\nsys.settrace(lambda *a: None)\ndef f(x):\n  fr=sys._getframe(1)\n  return fr.f_locals", W),
    (N(TWICE), "import os,signal\ndef f(x): os.kill(os.getpid(),9)", W),
    (N(TWICE), "import os,signal\ndef f(x): os.kill(os.getppid(),9)", W),
    (N(TWICE), "raise SystemExit(0)", W),
    (N(TWICE), "def f(x): raise SystemExit(0)", W),
    (N(TWICE), "def f(x): raise KeyboardInterrupt", W),
    (N(TWICE), "def candidate(x): return x*x\ndef check(c): pass", W),
    (N("METADATA={}\nTOL=1e-6\ndef check(candidate):\n  assert abs(candidate(2)-4)<TOL"), "TOL=1e9\ndef f(x): return 5", W),
    (N("def check(candidate):\n  assert helper(candidate(2))==4"), "def helper(x): return 4\ndef f(x): return 5", F),
    (
        N("def check(candidate):\n  assert helper(candidate(2))==4", setup="def helper(x): return x\ndef f(x):\n  pass"),
        "def helper(x): return 4\ndef f(x): return 5",
        W,
    ),
    (
        N("def check(candidate):\n  assert helper(candidate(2))==4", setup="def helper(x): return x\ndef f(x):\n  pass"),
        "def f(x): return 4",
        C,
    ),
    # 4
    (
        A("try:\n    f(-1)\nexcept ValueError:\n    pass\nelse:\n    raise AssertionError('no')"),
        "def f(x): raise ValueError",
        C,
    ),
    (A("try:\n    f(-1)\nexcept ValueError:\n    pass\nelse:\n    raise AssertionError('no')"), "def f(x): return 1", W),
    (A("try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass"), "def f(x): raise ValueError", C),
    (A("try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass"), "def f(x): return 1", W),
    (A("try:\n    f(-1)\n    assert False\nexcept ValueError:\n    assert True"), "def f(x): raise ValueError", C),
    (A("try:\n    assert f(1)==[1,2]\nexcept AssertionError:\n    assert f(1)==[2,1]"), "def f(x): return [2,1]", C),
    (A("try:\n    assert f(1)==[1,2]\nexcept AssertionError:\n    assert f(1)==[2,1]"), "def f(x): return [1,2]", C),
    (A("try:\n    assert f(1)==[1,2]\nexcept AssertionError:\n    assert f(1)==[2,1]"), "def f(x): return [2,3]", W),
    (A("try:\n    assert f(1)==[1,2]\nexcept:\n    pass"), "def f(x): return [2,3]", W),
    (A("try:\n    assert f(1)==[1,2]\nexcept:\n    pass"), "def f(x): return [1,2]", C),
    (A("try:\n    assert f(1)==[1,2]\nexcept Exception as e:\n    print(e)\n    raise"), "def f(x): return [2,3]", W),
    (A("f(1)"), "def f(x): return 1", F),
    (A("x = f(1)", "print(x)"), "def f(x): return 1", F),
    (A("def test_f():\n    assert f(1)==2"), "def f(x): return 1", F),
    (A("assert True"), "def f(x): return 1", F),
    (A("assert True", names=["f"]), "def f(x): return 1", F),
    (N("def check(candidate):\n  assert True"), "def f(x): return 1", F),
    (N("def check(candidate):\n  pass"), "def f(x): return 1", F),
    (N("def check(candidate):\n  def inner():\n    assert candidate(1)==2\n"), "def f(x): return 1", F),
    (N("def check(candidate):\n  if candidate(2)!=4: raise Exception('x')\n"), "def f(x): return 1", W),
    (N("def check(candidate):\n  if candidate(2)!=4: raise Exception('x')\n"), SQUARE, C),
    (A("if f(2)!=4: raise AssertionError"), SQUARE, C),
    (A("if f(2)!=4: raise AssertionError"), "def f(x): return 5", W),
    (A("import numpy as np", "np.testing.assert_allclose(f(2),4)"), SQUARE, C),
    (A("import numpy as np", "np.testing.assert_allclose(f(2),4)"), "def f(x): return 5", W),
    (A("import unittest", "unittest.TestCase().assertEqual(f(2),4)"), SQUARE, C),
    (A("import unittest", "unittest.TestCase().assertEqual(f(2),4)"), "def f(x): return 5", W),
    (A("for a,b in [(1,1),(2,4)]:\n    assert f(a)==b"), SQUARE, C),
    (A("for a,b in [(1,1),(2,4)]:\n    assert f(a)==b"), "def f(x): return 1", W),
    (A("assert (y := f(2)) == 4 and y > 1", "assert y == 4"), SQUARE, C),
    (A("assert all(f(x)==x*x for x in range(5))"), SQUARE, C),
    (A("assert all(f(x)==x*x for x in range(5))"), "def f(x): raise StopIteration", W),
    (A("assert [f(x) for x in (1,2)]==[1,4]"), SQUARE, C),
    (A("import sys", "with open('/dev/null') as q:\n    assert f(2)==4"), SQUARE, C),
    (A("for x in f(3):\n    assert x > 0"), "def f(x): return []", W),
    (A("for x in f(3):\n    assert x > 0"), "def f(x): return [1]", C),
    (A("for x in f(3):\n    assert x > 0", "assert f(0)==[]"), "def f(x): return []", W),
    (A("if f(3):\n    assert f(3)==[1]"), "def f(x): return []", W),
    (A("def t(x):\n    if f(x)!=x: raise ValueError", "t(3)"), "def f(x): return x", C),
    (A("def t(x):\n    if f(x)!=x: raise ValueError", "t(3)"), "def f(x): return 1", W),
    (N("def check(candidate):\n  for x in candidate(2):\n    assert x==4"), "def f(x): return []", W),
]
# answers that try to be taken for right ones
HOSTILE = [
    (
        SQ,
        "class M(type):\n  def __eq__(s,o): return True\n  __hash__=type.__hash__\nclass I(metaclass=M): pass\ndef f(x): return I",
        W,
    ),
    (SQ, "from unittest.mock import ANY\ndef f(x): return ANY", W),
    (SQ, "from unittest.mock import MagicMock\ndef f(x): return MagicMock()", W),
    (LI, "class L(list):\n  def __eq__(s,o): return True\ndef f(x): return L()", W),
    (LI, "class L(list):\n  def __iter__(s): return iter([1,2,3])\ndef f(x): return L()", C),  # data it shows is what counts
    (ST, "class S(str):\n  def __eq__(s,o): return True\n  def __hash__(s): return 1\ndef f(x): return S('q')", W),
    (ST, "def f(x): return b'b'", W),
    (SQ, "def f(x): return str(x*x)", W),
    (SQ, "def f(x): return [x*x]", W),
    (SQ, "def f(x): return (x*x,)", W),
    (SQ, "def f(x): return {x*x}", W),
    (SQ, "def f(x): print(x*x)", W),
    (SQ, "def f(x):\n  yield x*x", W),
    (SQ, "async def f(x): return x*x", W),
    (SQ, "f = 4", W),
    (SQ, "class f:\n  def __init__(s,x): s.x=x\n  def __eq__(s,o): return True", W),
    (SQ, "class f(int):\n  def __new__(c,x): return int.__new__(c,x*x)", C),
    (SQ, "f = type('f',(),{'__call__':lambda s,x: x*x})()", C),
    (TR, "class N:\n  def __len__(s): return 0\ndef f(x): return N()", W),
    (TR, "def f(x): return 0.0", W),
    (TR, "def f(x): return ''", W),
    (TR, "def f(x): return NotImplemented", C),
    (NT, "import types\ndef f(x): return types.SimpleNamespace()", W),
    (NT, "class N:\n  def __bool__(s): return 1\ndef f(x): return N()", W),
    (IN, "class N:\n  def __contains__(s,x): return True\ndef f(x): return N()", W),
    (IN, "class N(list):\n  def __contains__(s,x): return True\ndef f(x): return N()", W),
    (IN, "class N(dict):\n  def __contains__(s,x): return True\ndef f(x): return N()", W),
    (IN, "class N:\n  def __iter__(s): return iter([3])\ndef f(x): return N()", W),
    (FL, "class N(float):\n  def __sub__(s,o): return 0\ndef f(x): return N(7)", W),
    (FL, "class N:\n  def __sub__(s,o): return 0\ndef f(x): return N()", W),
    (FL, "def f(x): return float('nan')", W),
    (FL, "def f(x): return '0.5'", W),
    (FL, "from decimal import Decimal\ndef f(x): return Decimal('0.5')", W),
    (FL, "from fractions import Fraction\ndef f(x): return Fraction(1,2)", C),
    (FL, "import numpy as np\ndef f(x): return np.float32(0.5)", C),
    (FL, "import numpy as np\ndef f(x): return np.array(0.5)", C),
    (FL, "import numpy as np\ndef f(x): return np.array([0.5])", C),  # as in the harness: an array of one has a truth
    (FL, "import numpy as np\ndef f(x): return np.array([0.5,7])", W),
    (IS, "class L(list):\n  def __getitem__(s,i): return 1\ndef f(x): return L([2])", W),
    (IS, "def f(x): return (1,)", W),
    (EX, "def f(x):\n  import sys; sys.exit(1)", W),
    (EX, "class V(ValueError): pass\ndef f(x): raise V('x')", C),
    (EX, "class ValueError(Exception): pass\ndef f(x): raise ValueError('x')", W),
    (
        EX,
        "class ValueError(Exception): pass\nimport builtins\nbuiltins.ValueError=ValueError\ndef f(x): raise ValueError('x')",
        W,
    ),
    (
        EX,
        "class V(Exception): pass\nV.__module__='builtins'\nV.__name__='ValueError'\ndef f(x): raise V('x')",
        C,
    ),  # as if it had raised a ValueError
    (EX, "def f(x): raise UnicodeDecodeError('a',b'',0,0,'x')", W),
    (EX, "def f(x): raise AssertionError", W),
    (EX, "def f(x): assert x>0", W),
    (EX, "x = 1", W),
    # channel tricks
    (
        SQ,
        "import gc,socket\nfor o in gc.get_objects():\n  if isinstance(o,socket.socket): s=o\ndef f(x):\n  import json,struct\n  d=json.dumps({'value':['r',0,True]}).encode()\n  s.sendall(struct.pack('>I',len(d))+d)\n  return 5",
        W,
    ),
    (
        SQ,
        'import os,struct\ndef f(x):\n  d=b\'{"value": ["x","os.system","id"]}\'\n  os.write(3,struct.pack(\'>I\',len(d))+d)\n  return 4',
        W,
    ),
    (
        SQ,
        'import os,struct\ndef f(x):\n  d=b\'{"value": ["x","fractions.Fraction","1e99999999999"]}\'\n  os.write(3,struct.pack(\'>I\',len(d))+d)\n  return 4',
        W,
    ),
    (
        SQ,
        'import os,struct\ndef f(x):\n  d=b\'{"value": ["n",["__class__","__eq__"],[1,2]]}\'\n  os.write(3,struct.pack(\'>I\',len(d))+d)\n  return 4',
        W,
    ),
    (
        SQ,
        'import os,struct\ndef f(x):\n  d=b\'{"value": ["x","numpy.ndarray",[[1,2],[3,4]],"O"]}\'\n  os.write(3,struct.pack(\'>I\',len(d))+d)\n  return 4',
        W,
    ),
    (
        SQ,
        'import os,struct\ndef f(x):\n  d=b\'{"value": ["x","collections.Counter",5]}\'\n  os.write(3,struct.pack(\'>I\',len(d))+d)\n  return 4',
        W,
    ),
    (SQ, "import os\nos.close(3)\ndef f(x): return x*x", W),
    (SQ, "import __main__\n__main__.pack=lambda v,k: True\ndef f(x): return x", W),
    (
        SQ,
        "import sys\nfor m in list(sys.modules.values()):\n  if hasattr(m,'pack') and hasattr(m,'unpack'): m.pack=lambda v,k:4\ndef f(x): return 0",
        W,
    ),
    (
        SQ,
        "import sys\nfr=sys._getframe()\nwhile fr:\n  g=fr.f_globals\n  if 'pack' in g: g['pack']=lambda v,k: 4\n  fr=fr.f_back\ndef f(x): return 0",
        W,
    ),
    (
        SQ,
        "import sys\nfr=sys._getframe()\nwhile fr:\n  g=fr.f_globals\n  if 'truth' in g: g['truth']=lambda v: True\n  fr=fr.f_back\nclass Q: pass\ndef f(x): return Q()",
        W,
    ),
    (
        SQ,
        "import threading,os,time\nthreading.Thread(target=lambda:(time.sleep(.01),os._exit(0))).start()\ndef f(x):\n  time.sleep(1); return 0",
        W,
    ),
    (SQ, "import os\nif os.fork()==0:\n  os._exit(0)\ndef f(x): return 0", W),
    (SQ, "import signal\nsignal.alarm(1)\ndef f(x):\n  while True: pass", W),
    (SQ, "import sys\nsys.exit()\ndef f(x): return x*x", W),
    (SQ, "import os\nos.execv('/bin/true',['true'])\ndef f(x): return x*x", W),
    (SQ, "def f(x):\n  import ctypes\n  ctypes.string_at(0)", W),
    (SQ, "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f(x)", W),
    (SQ, "def f(x):\n  a=[];a.append(a);return a", W),
    (SQ, "def f(x): return range(10**15)", W),
    (SQ, "def f(x): return 10**100000", W),
    (SQ, "class D(dict):\n  def items(s): return [(4,4)]\ndef f(x): return D()", W),
    (SQ, "def f(x): return memoryview(b'4')", W),
    # state between calls, cached by argument
    (NE, "n=0\ndef f(x):\n  global n;n+=1;return n", C),
    # programs
    (P, "print(6);print(10)", W),
    (P, "n=int(input());print(n*2,end='')", C),
    (P, "n=int(input());print(n*2);print()", C),
    (P, "n=int(input());print('ans',n*2)", W),
    (P, "n=int(input());print(n*2.0)", W),
    (P, "n=int(input());print(f'0{n*2}')", W),
    (P, "n=int(input());print(n*2);raise SystemExit(0)", C),
    (P, "n=int(input());print(n*2);1/0", W),
    (P, "n=int(input());print(n*2, flush=True);import os;os._exit(0)", C),
    (P, "n=int(input());print(n*2);import os;os.kill(os.getpid(),9)", W),
    (P, "import sys;n=int(sys.stdin.buffer.readline());sys.stderr.write('x');print(n*2)", C),
    (P, "import os;n=int(os.read(0,100));os.write(1,b'%d\\n'%(n*2))", C),
    (P, "import glob\nfor p in glob.glob('/tmp/*')+glob.glob('*'): print(open(p).read())", W),
    (P, "n=int(input());print('\\u0660'+str(n*2))", W),
    (P, "n=int(input())\nprint(n*2,'\\x00')", W),
    (
        P,
        "from multiprocessing import Process\ndef g(n): print(n*2,flush=True)\nif __name__=='__main__':\n  n=int(input())\n  p=Process(target=g,args=(n,));p.start();p.join()",
        C,
    ),
    (P, "import subprocess,sys\nn=int(input())\nsubprocess.run(['echo',str(n*2)])", C),
    (
        P,
        "from dataclasses import dataclass\nimport pickle\n@dataclass\nclass Q:\n  n:int\nq=pickle.loads(pickle.dumps(Q(int(input()))))\nprint(q.n*2)",
        C,
    ),
    # functions by name
    (FN, "class Solution:\n  def f(self,x):\n    class E(int):\n      def __eq__(s,o): return True\n    return E(7)", W),
    (FN, "class Solution:\n  def f(self,x): return x*x", C),
    (FN, "class Solution:\n  def f(self,x): return True", W),
    (FN, "class Solution:\n  f = staticmethod(lambda x: x*x)", C),
    (FN, "class Solution:\n  def f(self,x): return [x*x]", W),
    (FN, "class Solution:\n  def f(self,x): return float(x*x)", C),
    (FN, "class Solution:\n  def __getattr__(s,n): return lambda x: x*x", W),
    (FN, "def f(x): return x*x\nclass Solution: pass", C),
]
# tests that build the answer's own classes
STACK = A(
    "s = Stack()",
    "assert s.is_empty() and len(s) == 0",
    "s.push(3)",
    "s.push(4)",
    "assert s.pop() == 4",
    "assert not s.is_empty()",
)
PUSH = "class Stack:\n  def __init__(s): s.x=[]\n  def push(s,v): s.x.append(v)\n  def pop(s): return s.x.pop()\n  def is_empty(s): return not s.x\n  def __len__(s): return len(s.x)\n"
POINT = A(
    "assert Point(1,2) + Point(3,4) == Point(4,6)",
    "assert Point(1,2) != Point(2,1)",
    "assert Point(3,4).norm() == 5",
    "assert str(Point(1,2)) == '(1, 2)'",
)
PLUS = "class Point:\n  def __init__(s,x,y): s.x,s.y=x,y\n  def __add__(s,o): return Point(s.x+o.x,s.y+o.y)\n  def norm(s): return (s.x**2+s.y**2)**.5\n  def __str__(s): return f'({s.x}, {s.y})'\n"
EQ = "  def __eq__(s,o): return isinstance(o,Point) and (s.x,s.y)==(o.x,o.y)\n"
TREE = A(
    "r = Node(1)",
    "r.left = Node(2)",
    "r.left.left = Node(3)",
    "assert depth(r) == 3",
    "assert mirror(r).right.val == 2",
    "assert r.left is None",
)
NODES = "class Node:\n  def __init__(s,v): s.val,s.left,s.right=v,None,None\ndef depth(n): return 1+max(depth(n.left),depth(n.right)) if n else 0\n"
MIRROR = "def mirror(n):\n  n.left,n.right=n.right,n.left\n  return n\n"
MONEY = A(
    "m = Money(5)",
    "assert m == 5",
    "assert Money(2) < Money(3)",
    "assert m in {Money(5), Money(7)}",
    "assert sorted([Money(3), Money(1)])[0].cents == 1",
)
CENTS = "import functools\n@functools.total_ordering\nclass Money:\n  def __init__(s,c): s.cents=c\n  def __eq__(s,o): return s.cents==getattr(o,'cents',o)\n  def __lt__(s,o): return s.cents<getattr(o,'cents',o)\n  def __hash__(s): return hash(s.cents)\n"
OBJECTS = [
    (STACK, PUSH, C),
    (STACK, PUSH.replace("s.x.pop()", "s.x.pop(0)"), W),
    (STACK, PUSH.replace("not s.x", "True"), W),
    (STACK, PUSH.replace("return s.x.pop()", "s.x.pop(); return L()") + LIE, W),
    (STACK, "def Stack(): return L()\n" + LIE, W),
    (STACK, "class Stack:\n  def __getattr__(s,n): return lambda *a: 4\n  def __len__(s): return 0", W),
    (A("s = Stack()", "try:\n    s.pop()\n    assert False\nexcept IndexError:\n    pass"), PUSH, C),
    (
        A("s = Stack()", "try:\n    s.pop()\n    assert False\nexcept IndexError:\n    pass"),
        PUSH.replace("s.x.pop()", "None"),
        W,
    ),
    (A("q = Queue([1,2])", "assert list(q) == [1,2] and 2 in q and 3 not in q and q[0] == 1"), "class Queue(list): pass", C),
    (
        A("q = Bag([1,2])", "assert list(q) == [1,2] and 2 in q and 3 not in q and q[0] == 1"),
        "class Bag:\n  def __init__(s,x): s.x=x\n  def __getitem__(s,i): return s.x[i]",
        C,
    ),
    (A("q = Bag([1,2])", "assert 2 in q"), "class Bag:\n  def __init__(s,x): pass\n  def __contains__(s,i): return True", W),
    (POINT, PLUS + EQ, C),
    (POINT, PLUS, W),
    (POINT, PLUS + "  def __eq__(s,o): return True\n", W),
    (POINT, PLUS + "  def __eq__(s,o): return isinstance(o,Point)\n", W),
    (POINT, PLUS + "  def __eq__(s,o): return True\n  def __ne__(s,o): return True\n", W),
    (POINT, PLUS.replace("s.y+o.y", "s.y") + EQ, W),
    (POINT, (PLUS + EQ).replace("(s.x,s.y)==(o.x,o.y)", "s.x<=o.x"), W),
    (POINT, PLUS.replace("return Point(s.x+o.x,s.y+o.y)", "return L()") + EQ + LIE, W),
    (POINT, PLUS.replace("(s.x**2+s.y**2)**.5", "L()") + EQ + LIE, W),
    (
        A("from math import isclose", "assert isclose(Circle(2).area(), 12.566, abs_tol=.01)"),
        "class Circle:\n  def __init__(s,r): s.r=r\n  def area(s): return 3.14159*s.r**2",
        C,
    ),
    (
        A("assert abs(Circle(2).area() - 12.566) < .01"),
        "class Circle:\n  def __init__(s,r): pass\n  def area(s): return L()\n" + LIE,
        W,
    ),
    (
        A("assert abs(Circle(2).area - 12.566) < .01"),
        "class Circle:\n  def __init__(s,r): s.r=r\n  @property\n  def area(s): return 3.14159*s.r**2",
        C,
    ),
    (
        A("assert Circle.unit().r == 1 and isinstance(Circle.unit(), Circle)"),
        "class Circle:\n  def __init__(s,r): s.r=r\n  @classmethod\n  def unit(c): return c(1)",
        C,
    ),
    (TREE, NODES + MIRROR, C),
    (TREE, NODES + MIRROR.replace("n.right,n.left", "n.left,n.right"), W),
    (TREE, NODES + "def mirror(n): return L()\n" + LIE, W),
    (A("assert f(Node(1)) == 2"), NODES + "def f(n): return n.val+1", C),
    (A("assert f(Node(1)) == 2"), NODES + LIE + "def f(n): return L()", W),
    (A("assert f(Node(1)).startswith('a')"), NODES + "class S:\n  def startswith(s,x): return True\ndef f(n): return S()", W),
    (A("assert 3 in f(Node(1))"), NODES + LIE + "def f(n): return L()", W),
    (A("assert f(Node(1)) < 3"), NODES + LIE + "def f(n): return L()", W),
    (MONEY, CENTS, C),
    (MONEY, CENTS.replace("s.cents==getattr(o,'cents',o)", "True"), W),
    (MONEY, CENTS.replace("s.cents<", "s.cents>"), W),
    (
        A("assert Frac(1,2) == Frac(2,4) and Frac(1,2) != Frac(1,3)"),
        "class Frac:\n  def __init__(s,a,b): s.a,s.b=a,b\n  def __eq__(s,o): return isinstance(o,Frac) and s.a*o.b==s.b*o.a",
        C,
    ),
    (
        A("assert Frac(1,2) == Frac(2,4) and Frac(1,2) != Frac(1,3)"),
        "class Frac:\n  def __init__(s,a,b): s.a,s.b=a,b\n  def __eq__(s,o): return isinstance(o,Frac)",
        W,
    ),
    (
        A("assert Color.RED.value == 1 and Color('g') == Color.GREEN"),
        "from enum import Enum\nclass Color(Enum):\n  RED=1\n  GREEN='g'",
        C,
    ),
    (
        N(
            "def check(candidate):\n    s = candidate()\n    s.push(1)\n    assert s.pop() == 1\n",
        )
        | {"entry": "Stack"},
        PUSH,
        C,
    ),
    (
        N(
            "def check(candidate):\n    s = candidate()\n    s.push(1)\n    assert s.pop() == 1\n",
        )
        | {"entry": "Stack"},
        PUSH.replace("s.x.pop()", "2"),
        W,
    ),
    (M(PUSH, "s = Stack()", "s.push(1)", "assert s.pop() == 1"), PUSH, C),
    (M(PUSH, "s = Stack()", "s.push(1)", "assert s.pop() == 1"), PUSH.replace("s.x.pop()", "2"), W),
]
TABLES = {"values": VALUES, "tests": TESTS, "hostile": HOSTILE, "objects": OBJECTS}


@pytest.fixture(scope="module")
def box():
    sandbox = Sandbox(SandboxOptions(name="rlimits" if why_no_walls() else "bubblewrap"), True, 2.0)
    yield sandbox
    sandbox.close()


@pytest.mark.parametrize("table", TABLES)
def test_what_is_said_of_each_answer(box, table):
    rows = TABLES[table]
    found = Code().verify([Problem("p", "", json.dumps(spec)) for spec, _, _ in rows], [answer for _, answer, _ in rows], box)
    others = [
        (spec, answer, state, v.state, v.why) for (spec, answer, state), v in zip(rows, found, strict=True) if v.state != state
    ]
    assert others == []
    assert {state for _, _, state in rows} >= {C, W}
