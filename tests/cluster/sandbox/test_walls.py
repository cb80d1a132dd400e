"""What runs behind the walls, and what tries to get out: hostile texts are judged by the real verifier in the real sandbox."""

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter, OrderedDict, deque, namedtuple
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from fractions import Fraction

import psutil
import pytest

from cluster.sandbox.guest import pack, text, unpack
from cluster.sandbox.inside import Guest
from cluster.sandbox.walls import Fork, Inmate, Sandbox, SandboxOptions, Watch, check, seccomp_filter, walls, why_no_walls
from iteration.errors import UserError
from iteration.types import Call, Problem, State
from iteration.verify.code import Code
from tests.cluster.hostile import BOMBS, CHEATS, PROBE, PROBES

pytestmark = pytest.mark.engine
needs_walls = pytest.mark.skipif(bool(why_no_walls()), reason=f"bubblewrap: {why_no_walls()}")
SECONDS = 1.0
PROBLEM = Problem("p", "", json.dumps({"asserts": ["assert f(1) == 'contained'"]}))


@pytest.fixture(scope="module")
def box():
    sandbox = Sandbox(SandboxOptions(memory_mb=600), True, SECONDS)
    yield sandbox
    sandbox.close()


@pytest.fixture(scope="module")
def verdicts(box, tmp_path_factory):
    """Every hostile text judged, all at once; then the machine is looked at."""
    secret = tmp_path_factory.mktemp("secret") / "secret.txt"
    word = uuid.uuid4().hex
    secret.write_text(word)
    os.environ["FLYWHEEL_TEST_SECRET"] = word
    libc = ctypes.CDLL(None)
    queue, memory = libc.msgget(0x7F1E, 0o1666), libc.shmget(0x7F1E, 4096, 0o1666)  # IPC_CREAT
    assert queue >= 0 and memory >= 0
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        port = server.getsockname()[1]
        abstract.bind(f"\0flywheel-{port}")
        abstract.listen()
        places = {"@FILE@": str(secret), "@PORT@": str(port), "@PID@": str(os.getpid()), "@WORD@": word}
        texts = {f"probe: {name}": text + "\n" + PROBE for name, text in PROBES.items()}
        texts |= {f"bomb: {name}": text for name, text in BOMBS.items()}
        texts |= {f"cheat: {name}": text for name, text in CHEATS.items()}
        for name, text in texts.items():
            for mark, value in places.items():
                text = text.replace(mark, value)
            texts[name] = text
        began = time.monotonic()
        found = Code(seconds=SECONDS).verify([PROBLEM] * len(texts), list(texts.values()), box)
        seconds = time.monotonic() - began
        for waiting in (server, abstract):
            waiting.settimeout(0.2)
            with pytest.raises(TimeoutError):
                waiting.accept()
    del os.environ["FLYWHEEL_TEST_SECRET"]
    libc.msgctl(queue, 0, None)  # IPC_RMID
    libc.shmctl(memory, 0, None)
    assert secret.read_text() == word and os.listdir(secret.parent) == [secret.name], "nothing was written outside"
    return dict(zip(texts, found, strict=True)), seconds


@needs_walls
def test_there_are_enough_of_them():
    assert len(PROBES) + len(BOMBS) + len(CHEATS) >= 80


@needs_walls
@pytest.mark.parametrize("name", PROBES)
def test_a_probe_is_contained(verdicts, name):
    verdict = verdicts[0][f"probe: {name}"]
    assert verdict.state == State.CORRECT, f"it got out: {verdict.why}"


@needs_walls
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_a_wrong_answer(verdicts, name):
    verdict = verdicts[0][f"bomb: {name}"]
    expected = State.UNPARSEABLE if name == "deep nesting in the text" else State.WRONG
    assert verdict.state == expected, verdict


@needs_walls
@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_is_a_wrong_answer(verdicts, name):
    verdict = verdicts[0][f"cheat: {name}"]
    assert verdict.state == State.WRONG, verdict


def is_guest(process: psutil.Process) -> bool:
    """Is it a guest of this process, or of one that has ended? Other tests have theirs at the same time."""
    with contextlib.suppress(psutil.NoSuchProcess):
        words, above = " ".join(process.cmdline()), process.parents()
        if "guest.pyc" in words and "bwrap" not in words:
            oldest = above[-2] if len(above) > 1 else process  # below init
            return os.getpid() in [each.pid for each in above] or oldest.name() in ("bwrap", process.name())
    return False


@needs_walls
def test_nothing_hangs_and_nothing_is_left(verdicts, box):
    assert verdicts[1] < 180
    good = "def f(x):\n    return 'contained'"
    for _ in range(4):
        found = Code(seconds=SECONDS).verify([PROBLEM] * 4, [good] * 4, box)
        assert [v.state for v in found] == [State.CORRECT] * 4, "it still works"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        guests = [each for each in psutil.process_iter() if is_guest(each)]
        if len(guests) <= (os.cpu_count() or 1) + 1:  # those that wait for the next text
            return
        time.sleep(0.2)
    raise AssertionError(f"{len(guests)} guests are left")


@needs_walls
def test_the_probes_can_fail():
    """Without walls harmless ones find what they look for: the tests above can tell an escape from none."""
    names = [
        "read /etc/passwd",
        "list processes in /proc",
        "read /sys",
        "read own memory map",
        "open files that were passed on",
    ]
    names += ["see pids of the host", "netlink", "listen", "be traced", "read memory across processes", "load a kernel program"]
    sandbox = Sandbox(SandboxOptions(name="rlimits"), True, SECONDS)
    try:
        texts = [PROBES[name].replace("@PID@", str(os.getpid())) + "\n" + PROBE for name in names]
        found = Code(seconds=SECONDS).verify([PROBLEM] * len(texts), texts, sandbox)
    finally:
        sandbox.close()
    assert [name for name, verdict in zip(names, found, strict=True) if verdict.state == State.CORRECT] == []


@needs_walls
def test_the_sandbox_ends_with_its_caller(tmp_path):
    """kill -9 of the caller: nothing that it had started lives on."""
    script = (
        "import sys, time\nfrom cluster.sandbox.walls import *\nfrom iteration.types import Call\n"
        "import json\nbox = Sandbox(SandboxOptions(), True, 60.0)\nprint('up', flush=True)\n"
        "spec = {'asserts': ['assert f(1) == 2']}\n"
        "box.run([Call('iteration.verify.code:grade', [spec, 'def f(x):\\n    while True: pass'], guest=True)] * 2)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=os.getcwd())
    assert process.stdout.readline() == "up\n"
    family, deadline = [], time.monotonic() + 30
    while not any("guest.pyc" in " ".join(each.cmdline()) for each in family):
        assert time.monotonic() < deadline, family
        time.sleep(0.05)
        family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    gone, alive = psutil.wait_procs(family, timeout=10)
    assert not alive, alive


MEETS = """
import ctypes, os, socket
libc = ctypes.CDLL(None)
kept = []
def leave():
    for place in ('/tmp/left', '/dev/shm/left'):
        open(place, 'w').write('x')
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        kept.append(socket.socket(socket.AF_UNIX, kind))
        kept[-1].bind(f'\\0meet{kind}')
    kept[0].listen()
    return libc.msgget(0x7F1E, 0o1666) >= 0 and libc.shmget(0x7F1E, 4096, 0o1666) >= 0
def find():
    found = os.listdir('/tmp') + os.listdir('/dev/shm') + os.listdir('/proc') + os.listdir('/dev/pts')
    for kind in (1, 2):
        with socket.socket(socket.AF_UNIX, kind) as other:
            if not other.connect_ex(f'\\0meet{kind}'):
                found.append(kind)
    found += [name for name in ('msgget', 'shmget') if getattr(libc, name)(0x7F1E, 0, 0) >= 0]
    for pid in range(2, 400):
        try:
            os.kill(pid, 0)
            found.append(pid)
        except ProcessLookupError:
            pass
    return found
def stay():
    try:
        os.kill(-1, 9)
    except ProcessLookupError:
        return 'alone'
def rights():
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    bounding = [n for n in range(40) if libc.prctl(23, n, 0, 0, 0) == 1]
    return [libc.capget(header, data), *data, libc.prctl(39, 0, 0, 0, 0), bounding, os.getpid(), os.getppid()]
"""


@needs_walls
def test_guests_of_one_nursery_never_meet(box):
    """Neither at the same time nor one after another: each has namespaces of its own, and no capability in them."""
    inmates = [box._take_guest() for _ in range(3)]
    one, other, third = (Guest(each.socket, 5.0, 1 << 20) for each in inmates)
    try:
        assert all(isinstance(each, Fork) for each in inmates), "this machine's guests are forked"
        assert [guest.define(MEETS) for guest in (one, other, third)] == [{"value": []}] * 3
        assert one.call("leave") == {"value": True} and "/tmp" not in one.call("find")["value"]
        assert set(one.call("find")["value"]) >= {"left", 1, 2, "msgget", "shmget"}, "it finds its own"
        assert other.call("find") == {"value": []}
        assert third.call("stay") == {"value": "alone"} and other.call("find") == {"value": []}
        assert other.call("rights") == {"value": [0] * 7 + [1, [], 1, 0]}, "no capabilities, none to gain, first of its own"
    finally:
        ends = [each.end() for each in inmates]
    assert ends == [None] * 3, "none had ended itself"
    later = box._take_guest()
    try:
        guest = Guest(later.socket, 5.0, 1 << 20)
        assert guest.define(MEETS) == {"value": []} and guest.call("find") == {"value": []}
    finally:
        later.end()


@needs_walls
def test_random_numbers_differ_between_guests(box):
    found = set()
    for _ in range(3):
        inmate = box._take_guest()
        guest = Guest(inmate.socket, 5.0, 1 << 20)
        guest.define("import random\ndef f(): return random.random()")
        found.add(guest.call("f")["value"])
        inmate.end()
    assert len(found) == 3


@needs_walls
def test_a_nursery_that_died_is_replaced(box):
    good = "def f(x):\n    return 'contained'"
    assert Code().verify([PROBLEM], [good], box)[0].state == State.CORRECT
    before = box._nursery
    waiting = [box._take_guest() for _ in range(2)]
    before.process.kill()
    before.process.wait()
    deadline = time.monotonic() + 10
    while not all(each.lost() for each in waiting) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [(each.lost(), each.end()) for each in waiting] == [(True, None)] * 2
    found = Code().verify([PROBLEM] * 6, [good, "def f(x): return 1"] * 3, box)
    assert [v.state for v in found] == [State.CORRECT, State.WRONG] * 3 and box._nursery is not before


@needs_walls
def test_a_nursery_that_dies_during_a_call_makes_no_verdict(box):
    """The answer is tried again, or failed; it is never wrong for that."""
    started = threading.Event()
    original = Watch.look

    def kill(watch):
        if not started.is_set():
            started.set()
            box._nursery.process.kill()
        original(watch)

    slow = "import time\ndef f(x):\n    time.sleep(0.5)\n    return 'contained'"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watch, "look", kill)
        (verdict,) = Code().verify([PROBLEM], [slow], box)
    assert started.is_set() and verdict.state == State.CORRECT, verdict


@needs_walls
def test_where_nothing_can_be_forked_each_guest_has_walls_of_its_own(monkeypatch):
    """Kernels that forbid namespaces within namespaces: slower, and the same walls."""
    monkeypatch.setattr("cluster.sandbox.walls._can_fork", lambda nursery: False)
    sandbox = Sandbox(SandboxOptions(memory_mb=600), True, SECONDS)
    try:
        names = [name for name, text in PROBES.items() if "@" not in text]
        found = Code(seconds=SECONDS).verify([PROBLEM] * len(names), [PROBES[name] + "\n" + PROBE for name in names], sandbox)
        assert sandbox._nursery is None and isinstance(sandbox._take_guest(), Inmate)
    finally:
        sandbox.close()
    assert [name for name, verdict in zip(names, found, strict=True) if verdict.state != State.CORRECT] == []


def test_limits_only_is_chosen_by_name(monkeypatch):
    monkeypatch.setattr("cluster.sandbox.walls.shutil.which", lambda name: None)
    with pytest.raises(UserError) as error:
        check(SandboxOptions(), True, "verify.name=code")
    said = str(error.value)
    assert "apt-get install bubblewrap" in said and "sandbox=rlimits" in said and "\n" not in said
    with pytest.raises(UserError):
        Sandbox(SandboxOptions(), True, 1.0)
    check(SandboxOptions(name="rlimits"), True, "verify.name=code")
    check(SandboxOptions(), False, "verify.name=math")
    with pytest.raises(ValueError, match="bubblewrap or rlimits"):
        SandboxOptions(name="none")


@pytest.mark.parametrize("option", ["memory_mb", "processes", "files_mb"])
def test_limits_that_nothing_could_run_in_are_refused(option):
    for value in (0, -1):
        with pytest.raises(ValueError, match=f"^{option} is {value}; expected at least"):
            SandboxOptions(**{option: value})


def test_a_library_that_only_needs_limits_works_without_walls(monkeypatch):
    monkeypatch.setattr("cluster.sandbox.walls.shutil.which", lambda name: None)
    sandbox = Sandbox(SandboxOptions(), False, 1.0)
    try:
        outcomes = sandbox.run(
            [Call("iteration.verify.code:same_output", ["a \n", "a"]), Call("tests.cluster.slow:forever", [])]
        )
    finally:
        sandbox.close()
    assert [outcome.state for outcome in outcomes] == ["done", "late"] and outcomes[0].value is True


def test_an_error_of_the_sandbox_is_no_verdict(monkeypatch):
    """Where no guest can be started the answer is not wrong; neighbours keep their own verdicts."""
    sandbox = Sandbox(SandboxOptions(name="rlimits"), True, 1.0)
    asked = []

    def broken(self):
        asked.append(1)
        raise OSError("no more processes")

    good, monkey = "def f(x):\n    return 'contained'", monkeypatch.setattr
    try:
        monkey(Sandbox, "_take_guest", broken)
        (verdict,) = Code().verify([PROBLEM], [good], sandbox)
        monkeypatch.undo()
        again = Code().verify([PROBLEM] * 3, [good, "def f(x):\n    return 1", good], sandbox)
    finally:
        sandbox.close()
    assert verdict.state == State.FAILED and "no more processes" in verdict.why and len(asked) == 2, "tried once more"
    assert [each.state for each in again] == [State.CORRECT, State.WRONG, State.CORRECT]


def test_a_module_that_cannot_be_loaded_fails_its_calls_alone():
    sandbox = Sandbox(SandboxOptions(name="rlimits"), False, 1.0)
    try:
        outcomes = sandbox.run([Call("tests.cluster.nowhere:f", []), Call("iteration.verify.code:same_output", ["a", "b"])])
    finally:
        sandbox.close()
    assert outcomes[0].state == "broke" and "nowhere" in outcomes[0].why
    assert outcomes[1].value is False


def test_late_calls_do_not_hold_up_others():
    sandbox = Sandbox(SandboxOptions(name="rlimits"), False, 3.0)
    try:
        calls = [Call("tests.cluster.slow:forever", [])] * 6 + [Call("tests.cluster.slow:quick", [i]) for i in range(200)]
        ends = {}
        outcomes = list(sandbox._threads.map(lambda each: (sandbox._one(each), time.monotonic()), calls))
        ends = [end for _, end in outcomes]
    finally:
        sandbox.close()
    assert [outcome.state for outcome, _ in outcomes[:6]] == ["late"] * 6
    assert [outcome.value for outcome, _ in outcomes[6:]] == list(range(200))
    assert max(ends[6:]) < min(ends[:6]), "all quick ones are done before the first late one is given up"


@pytest.mark.parametrize(
    "value",
    [range(1, 9, 2), int, ValueError, {1: 2}.keys() | set()]
    + [None, True, 0, -(2**63), 2**64, 10**400, 0.5, float("inf"), "", "a\ud800", "\0", 1j, b"\xff", [1, [2]], (1,), {1, 2}]
    + [frozenset({1}), {"a": (1, 2), 3: None}, {}, [], [(1,), {"x": {1}}]],
)
def test_plain_values_come_through_as_they_were(value):
    kept = []
    through = unpack(json.loads(text(pack(value, kept))))
    assert through == value and type(through) is type(value) and not kept


def test_what_is_not_plain_stays_and_equals_nothing():
    class Everything:
        def __eq__(self, other):
            return True

    kept = []
    remote = unpack(json.loads(text(pack([Everything()], kept))))[0]
    assert (
        remote.__eq__(1) is False
        and remote != Everything.__name__
        and remote != 1
        and remote not in ([], None)
        and len(kept) == 1
    )
    assert unpack(pack(remote, []), kept) is kept[0], "handed back it is itself"


def test_views_come_through_in_their_order():
    made = {"b": 1, "a": (2,)}
    for view in (made.keys(), made.values(), made.items()):
        through = unpack(json.loads(text(pack(view, []))))
        assert list(through) == list(view) and type(through) is type(view)


def test_builtin_functions_are_handed_over_and_not_taken_back():
    assert unpack(pack([len, sorted], []), []) == [len, sorted]
    with pytest.raises(ValueError, match="not a type"):
        unpack(json.loads(text(pack(eval, []))))
    with pytest.raises(AttributeError):
        unpack(["y", "os"])


@pytest.mark.parametrize(
    "value",
    [Fraction(1, 3), Decimal("0.10"), deque([1, (2,)], 5), Counter("aab"), OrderedDict([(2, 1), (1, 2)]), date(2020, 1, 2)]
    + [datetime(2020, 1, 2, 3, 4, 5, 6), timedelta(1, 2, 3), time_of_day(1, 2)],
)
def test_values_of_the_library_come_through_as_they_were(value):
    through = unpack(json.loads(text(pack([value], []))))[0]
    assert through == value and type(through) is type(value) and getattr(through, "maxlen", 5) == 5
    assert unpack(pack(value, []), []) == value, "and back"


def test_a_named_tuple_keeps_its_names():
    through = unpack(json.loads(text(pack(namedtuple("Point", "x y")(1, [2]), []))))
    assert through == (1, [2]) and through.y == [2]


@pytest.mark.parametrize("bad", [["x", "os.system", "true"], ["x", "builtins.eval", "1"], ["n", ["x", "def"], [1, 2]], ["q"]])
def test_no_other_type_is_made_of_what_a_guest_says(bad):
    with pytest.raises((ValueError, KeyError, IndexError)):
        unpack(bad)


def test_a_remote_is_as_true_as_it_says():
    class Odd:
        def __init__(self, true):
            self.true = true

        def __bool__(self):
            return self.true

    yes, no, neither = (unpack(pack(Odd(true), [])) for true in (True, False, "neither"))
    assert yes and not no
    with pytest.raises(TypeError):
        bool(neither)


@needs_walls
def test_the_walls_are_the_ones_that_are_described():
    words = " ".join(walls({}, 8))
    for each in ("--unshare-all", "--unshare-user", "--die-with-parent", "--clearenv", "--cap-drop ALL"):
        assert each in words
    assert "--ro-bind / /" not in words.split("setpriv")[0], "the root of the machine is not shown"
    assert seccomp_filter(), "pyseccomp and libseccomp are in the lock files"
