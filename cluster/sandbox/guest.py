"""The isolated process that runs a model's text (cluster/sandbox/walls.py starts it, as a file).

It answers requests about that text until it is killed. Nothing here is trusted once the text runs: the other side reads plain
data only (cluster/sandbox/inside.py, Guest). Imports are few because a process may be started for each answer: requests are
marshalled, as they come from the trusted side; replies are JSON, which is safe to read. Over 400 lines: it is started as one
file, which can import nothing of this project.
"""

import _collections_abc
import _io
import _json
import _operator
import _socket
import _struct
import builtins
import marshal
import os
import resource
import sys

ITEMS = 100_000  # most items read from an iterator
VIEWS = ((type({}.keys()), "k"), (type({}.values()), "v"), (type({}.items()), "m"))  # of a dict
# Types of the library whose values are passed as the arguments that make them.
STANDARD = ("fractions.Fraction", "decimal.Decimal", "collections.Counter", "collections.OrderedDict", "collections.deque")
STANDARD += ("datetime.date", "datetime.time", "datetime.datetime", "datetime.timedelta", "numpy.ndarray")


def pack(value: object, keep: list) -> object:
    """A value as lists, strings and numbers. Other objects are appended to `keep` and replaced by their index there."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) < value < 2**63 else ["h", hex(value)]
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, complex):
        return ["c", value.real, value.imag]
    if isinstance(value, (bytes, bytearray)):
        return ["b", bytes(value).hex()]
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if name in STANDARD:
        return ["x", name, *(pack(each, keep) for each in arguments(value, name))]
    if isinstance(value, tuple) and isinstance(names := getattr(value, "_fields", None), tuple):
        return ["n", [str(each) for each in names], [pack(each, keep) for each in value]]
    for kind, name in ((list, "l"), (tuple, "t"), (set, "s"), (frozenset, "f")):
        if isinstance(value, kind):
            return [name, [pack(each, keep) for each in value]]
    if isinstance(value, dict):
        return ["d", [[pack(k, keep), pack(v, keep)] for k, v in value.items()]]
    if isinstance(value, Remote):
        return ["r", value._place]
    if isinstance(value, range):
        return ["g", [value.start, value.stop, value.step]]
    for kind, name in VIEWS:
        if isinstance(value, kind):
            return [name, [pack(each, keep) for each in value]]
    name = getattr(value, "__name__", None) if isinstance(value, (type, type(len))) else None
    if isinstance(name, str) and getattr(builtins, name, None) is value:
        return ["y", name]
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return pack(value.item(), keep)
    if isinstance(value, _collections_abc.Iterator):
        return ["i", [pack(each, keep) for each, _ in zip(value, range(ITEMS), strict=False)]]
    keep.append(value)
    return ["r", len(keep) - 1, truth(value)]


def arguments(value: object, name: str) -> tuple:
    """The arguments that make a value of a STANDARD type."""
    if name == "collections.deque":
        return list(value), value.maxlen
    if name == "collections.OrderedDict":
        return (list(value.items()),)
    if name == "numpy.ndarray":
        return value.tolist(), value.dtype.str
    return value.__reduce__()[1]


def truth(value: object) -> bool | None:
    """None for an object whose own code raises an error when asked: the tests then raise one, too (`Remote`)."""
    try:
        return bool(value)
    except Exception:
        return None


def unpack(value: object, kept: object = None) -> object:
    """The inverse of `pack`. kept: the objects that indices stand for. Else the value comes from a guest: an index is a
    `Remote`, or what the function `kept` makes of it, and a builtin that is no type raises ValueError."""
    if not isinstance(value, list):
        return value
    kind, *rest = value
    if kind == "h":
        return int(rest[0], 16)
    if kind == "c":
        return complex(rest[0], rest[1])
    if kind == "b":
        return bytes.fromhex(rest[0])
    if kind == "d":
        return {unpack(k, kept): unpack(v, kept) for k, v in rest[0]}
    if kind == "r":
        return kept[rest[0]] if isinstance(kept, list) else (kept or Remote)(*rest)
    if kind == "x":
        return standard(rest[0])(*(unpack(each, kept) for each in rest[1:]))
    if kind == "n":
        return standard("collections.namedtuple")("Named", rest[0])(*(unpack(each, kept) for each in rest[1]))
    if kind == "g":
        return range(*rest[0])
    if kind == "y":
        named = getattr(builtins, rest[0])
        if not isinstance(kept, list) and not isinstance(named, type):
            raise ValueError("not a type")
        return named
    items = [unpack(each, kept) for each in rest[0]]
    if kind == "k":
        return dict.fromkeys(items).keys()
    if kind in "vm":
        return dict(enumerate(items)).values() if kind == "v" else dict(items).items()
    return {"l": list, "t": tuple, "s": set, "f": frozenset, "i": iter}[kind](items)


def standard(name: str) -> object:
    if name not in (*STANDARD, "collections.namedtuple"):
        raise ValueError("not a type of the library")
    module, _, kind = name.rpartition(".")
    __import__(module)
    return getattr(sys.modules[module], kind if kind != "ndarray" else "array")


class Remote:
    """An object that stays with the guest: it can be passed back, equals only itself, and is as true as it says."""

    def __init__(self, place: int, true: bool | None = True):
        self._place, self._true = place, true

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        if not isinstance(self._true, bool):
            raise TypeError("an object of the answer's has no truth value")
        return self._true


def text(value: object) -> str:
    """JSON of what `pack` returns, and of dicts of it."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return _json.encode_basestring_ascii(value)
    if isinstance(value, list):
        return f"[{','.join(map(text, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{text(k)}:{text(v)}" for k, v in value.items()) + "}"
    said = repr(value)
    return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(said, said)


def limit(limits: dict) -> None:
    """Set the resource limits of this process. Children inherit them."""

    def at_most(what: int, most: int) -> None:
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))

    if limits["memory"]:
        at_most(resource.RLIMIT_AS, limits["memory"])
    at_most(resource.RLIMIT_FSIZE, limits["files"])
    at_most(resource.RLIMIT_NOFILE, 64)
    at_most(resource.RLIMIT_CORE, 0)
    if limits.get("processes"):
        at_most(resource.RLIMIT_NPROC, limits["processes"])
    if limits.get("seconds"):
        seconds = max(1, int(limits["seconds"] + 0.999))
        # SIGXCPU at the limit, SIGKILL a second later; the first process of a pid namespace does not get SIGXCPU
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + (os.getpid() != 1)))


def leave_terminal() -> None:
    """Give up the controlling terminal, if there is one."""
    try:
        tty = os.open("/dev/tty", os.O_RDWR)
    except OSError:
        return
    import fcntl

    fcntl.ioctl(tty, 0x5422)  # TIOCNOTTY
    os.close(tty)


def channel() -> int:
    """The descriptor of the socket, which was passed as standard input; standard input is then empty."""
    os.dup2(0, 3)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return 3


def exactly(sock: object, n: int) -> bytes:
    parts = []
    while n:
        part = sock.recv(min(n, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        n -= len(part)
    return b"".join(parts)


def send(sock: object, data: bytes) -> None:
    sock.sendall(_struct.pack(">I", len(data)) + data)


def serve(sock: object, limits: dict) -> None:
    """Answer requests until the other side closes the socket."""
    leave_terminal()
    limit(limits)
    builtins.exit = builtins.quit = leave
    send(sock, b'{"ready": true}')
    names = module("answer")
    keep: list = []
    while True:
        try:
            asked = marshal.loads(exactly(sock, _struct.unpack(">I", exactly(sock, 4))[0]))
        except EOFError:
            return
        try:
            reply = {"value": pack(reply_to(asked, names, keep, limits), keep)}
        except BaseException as error:
            what = next((each for each in type(error).__mro__ if each.__module__ == "builtins"), Exception).__name__
            reply = {"raised": [what, said(error)]}
        try:
            data = text(reply).encode()
        except (TypeError, ValueError, RecursionError, MemoryError) as error:
            data = text({"raised": ["TypeError", f"its value cannot be returned: {type(error).__name__}"]}).encode()
        send(sock, data)


def module(name: str) -> dict:
    """The names of a new module, which is registered as dataclasses and others expect."""
    sys.modules[name] = made = type(sys)(name)
    return made.__dict__


def said(error: BaseException) -> str:
    try:
        return str(error)[:300]
    except BaseException:
        return ""


def reply_to(asked: dict, names: dict, keep: list, limits: dict) -> object:
    if "define" in asked:
        return define(asked, names)
    if "get" in asked:
        return resolve(asked["get"], "", names)
    if "program" in asked:
        return program(asked["program"], asked["stdin"], limits)
    if "command" in asked:
        return command(asked["command"], asked["files"], limits)
    if "operate" in asked:
        target = getattr(_operator, asked["operate"], None) or getattr(builtins, asked["operate"])
    else:
        target = resolve(asked["call"], asked["of"], names)
    keywords = {name: unpack(value, keep) for name, value in asked["keywords"].items()}
    return target(*(unpack(value, keep) for value in asked["arguments"]), **keywords)


def define(asked: dict, names: dict) -> list[str]:
    """Run a text as a module, between two other texts. Returns those of the names that it does not define."""
    exec(compile(asked["before"], "before.py", "exec"), names)
    for name in asked["names"]:
        names.pop(name, None)
    exec(compile(asked["define"], "answer.py", "exec"), names)
    missing = [name for name in asked["names"] if not (name in names or hasattr(names.get(asked["of"]), name))]
    if not missing:
        exec(compile(asked["after"], "setup.py", "exec"), names)
    return missing


def resolve(name: str, of: str, names: dict) -> object:
    """A name of the module; if it is missing, the method of that name of a new instance of the class `of`."""
    if name in names:
        return names[name]
    if of in names:
        return getattr(names[of](), name)
    raise NameError(f"name {name!r} is not defined")


def leave(code: object = None) -> None:
    """exit() and quit(), which the module `site` would define; it is not loaded here."""
    raise SystemExit(code)


def finish(printed: object) -> None:
    """What Python does when a program ends: wait for its threads, call what it registered, write what it buffered."""
    import atexit
    import gc

    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()
    atexit._run_exitfuncs()
    for file in (sys.stdout, sys.stderr, *(each for each in gc.get_objects() if isinstance(each, _io._IOBase))):
        with suppressed(Exception):
            if file is not printed and not file.closed:
                file.flush()


def program(source: str, stdin: str, limits: dict) -> dict:
    """Run a whole program in a process of its own: {"status", "stdout", "error"}."""
    import io

    with open("out", "w+b") as out, open("err", "w+b") as err:
        child = os.fork()
        if not child:
            status = 1
            try:
                with open("in", "w", encoding="utf-8", errors="surrogatepass") as file:
                    file.write(stdin)
                os.dup2(os.open("in", os.O_RDONLY), 0)
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                os.closerange(3, 64)
                sys.stdin, sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(fd, mode)) for fd, mode in enumerate("rww"))
                sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
                sys.argv = ["answer.py"]
                exec(compile(source, "answer.py", "exec"), module("__main__"))
                status = 0
            except SystemExit as error:
                status = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
            except BaseException as error:
                os.write(2, f"{type(error).__name__}: {said(error)}".encode("utf-8", "replace"))
            finally:
                try:
                    finish(out)
                finally:
                    os._exit(status & 255)
        _, end = os.waitpid(child, 0)
        out.seek(0)
        err.seek(0)
        printed = out.read(limits["output"]).decode("utf-8", "replace")
        error = err.read()[-300:].decode("utf-8", "replace").strip()
        return {"status": os.waitstatus_to_exitcode(end), "stdout": printed, "error": error}


def command(words: list[str], files: dict[str, str], limits: dict) -> dict:
    """Write files (name: text) and run a command beside them: {"status", "stdout", "error"}."""
    import subprocess

    for name, content in files.items():
        with open(name, "w", encoding="utf-8", errors="replace") as file:
            file.write(content)
    with open("out", "w+b") as out, open("err", "w+b") as err:
        status = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err).returncode
        out.seek(0)
        err.seek(0)
        texts = [file.read(limits["output"]).decode("utf-8", "replace") for file in (out, err)]
    return {"status": status, "stdout": texts[0], "error": texts[1][-1000:].strip()}


# a nursery: an isolated process that forks a guest for each answer, into namespaces of its own

SPACES = 0x7E020000  # CLONE_NEW: user, pid, net, ipc, uts, cgroup and mount namespaces, so that guests do not see each other
COMMON = ("bisect", "collections", "copy", "datetime", "functools", "heapq", "io", "itertools", "math", "operator", "random")
COMMON += ("re", "string", "typing")  # imported once, as most answers do


def nursery(sock: object, told: dict) -> None:
    """Fork a guest for each pair of sockets that arrives: the guest's channel, and one that gets its pidfd, then its status.

    It runs no model's text itself. Guests find nothing in its memory but imported modules.
    """
    import ctypes
    import gc
    import select
    import signal
    import socket

    libc, python = ctypes.PyDLL(None, use_errno=True), ctypes.pythonapi  # PyDLL keeps the interpreter's lock, as os.fork does
    for function in (python.PyOS_BeforeFork, python.PyOS_AfterFork_Parent, python.PyOS_AfterFork_Child):
        function.restype = None
    clone = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    for name in COMMON:
        __import__(name)
    rules = ctypes.create_string_buffer(told["rules"], len(told["rules"]))
    told["maps"] = [("uid_map", f"{os.geteuid()} {os.geteuid()} 1"), ("gid_map", f"{os.getegid()} {os.getegid()} 1")]
    leave_terminal()
    send(sock, b'{"ready": true}')
    gc.collect()
    gc.freeze()
    poll, children, nothing = select.poll(), {}, [ctypes.c_long(0)] * 4
    poll.register(sock, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready != sock.fileno():
                pid, report = children.pop(ready)
                _, end = os.waitpid(pid, 0)
                poll.unregister(ready)
                os.close(ready)
                with report, suppressed(OSError):
                    report.send(b"%d" % os.waitstatus_to_exitcode(end))
                continue
            _, fds, _, _ = socket.recv_fds(sock, 1, 2)
            if len(fds) != 2:
                return
            python.PyOS_BeforeFork()
            pid = libc.syscall(clone, SPACES | signal.SIGCHLD, *nothing)
            if pid == 0:
                python.PyOS_AfterFork_Child()
                status = 1
                try:
                    os.dup2(fds[0], 3)
                    os.closerange(4, 4096)
                    mine = socket.socket(fileno=3)
                    enclose(libc, told, rules)
                    serve(mine, told["limits"])
                    status = 0
                finally:
                    os._exit(status)
            python.PyOS_AfterFork_Parent()
            os.close(fds[0])
            report = socket.socket(fileno=fds[1])
            if pid < 0:
                with report, suppressed(OSError):
                    report.send(b"-")
                continue
            pidfd = os.pidfd_open(pid)
            poll.register(pidfd, select.POLLIN)
            children[pidfd] = pid, report
            with suppressed(OSError):
                socket.send_fds(report, [b"p"], [pidfd])


class suppressed:
    """contextlib.suppress, without the imports of contextlib."""

    def __init__(self, kind: type):
        self.kind = kind

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: object, trace: object) -> bool:
        return kind is not None and issubclass(kind, self.kind)


def enclose(libc: object, told: dict, rules: object) -> None:
    """Isolate a guest, from inside its new namespaces. Raises OSError where a step fails.

    Empty file systems cover every folder that can be written to, and the process drops all capabilities, including those over
    its own namespaces, so it reaches no file, process or socket of another guest. Sources: user_namespaces(7), mount(2),
    capabilities(7), prctl(2), seccomp(2).
    """
    import ctypes

    def checked(result: int) -> None:
        if result:
            raise OSError(ctypes.get_errno(), "a guest cannot be isolated")

    for name, text in (("setgroups", "deny"), *told["maps"]):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    checked(libc.mount(None, b"/", None, 0x44000, None))  # MS_REC | MS_PRIVATE
    size = f"mode=755,size={told['megabytes']}m".encode()
    for place, flags in (("/tmp", 6), ("/dev/shm", 6), ("/dev/pts", 7), ("/proc", 7)):  # MS_NOSUID | MS_NODEV | MS_RDONLY
        checked(libc.mount(b"tmpfs", place.encode(), b"tmpfs", flags, size))
    os.chdir("/tmp")
    for fd in (0, 1, 2):  # reopened: flags set on the nursery's would be shared by all guests
        os.dup2(os.open(os.devnull, os.O_RDWR if fd else os.O_RDONLY), fd)
    os.closerange(4, 16)
    capability = 0
    while not libc.prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP; fails after the last one
        capability += 1
    checked(capability < 20)
    checked(libc.prctl(47, 4, 0, 0, 0))  # PR_CAP_AMBIENT, all cleared
    checked(libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()))
    checked(libc.prctl(38, 1, 0, 0, 0))  # PR_SET_NO_NEW_PRIVS
    if len(rules):
        filters = (ctypes.c_uint64 * 2)(len(rules) // 8, ctypes.addressof(rules))  # struct sock_fprog
        checked(libc.prctl(22, 2, filters, 0, 0))  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


if __name__ == "__main__":
    told = marshal.loads(bytes.fromhex(sys.argv[1]))
    sys.path += told["path"]
    if "rules" in told:
        nursery(_socket.socket(fileno=channel()), told)
    else:
        serve(_socket.socket(fileno=channel()), told["limits"])
