"""The trusted processes inside the sandbox (cluster/sandbox/walls.py starts them, as a file).

A *factory* imports a module once and forks a process for each *seat*, which calls functions of that module, one after another.
A function may get a guest as an argument, the process that runs a model's text (cluster/sandbox/guest.py). Only plain data
comes from it, and nothing that decides a verdict is ever in its memory. Messages are JSON after a length of four bytes.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import marshal
import os
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Sequence

if __name__ == "__main__":  # as a file, beside guest.py
    sys.path.insert(0, os.path.dirname(__file__))
    from guest import Remote, channel, exactly, limit, pack, said, unpack

    sys.path.pop(0)
else:
    from cluster.sandbox.guest import Remote, channel, exactly, limit, pack, said, unpack

MOST = 64 << 20  # bytes of one message
HASTE = 0.05  # seconds of CPU after which a call gets idle priority


def send(sock: socket.socket, message: object) -> None:
    data = json.dumps(message).encode()
    sock.sendall(struct.pack(">I", len(data)) + data)


def receive(sock: socket.socket, most: int = MOST) -> object:
    """The next message. Raises EOFError if the other side is closed, ValueError for an invalid message."""
    (length,) = struct.unpack(">I", exactly(sock, 4))
    if length > most:
        raise ValueError(f"a message of {length} bytes, more than {most}")
    try:
        return json.loads(exactly(sock, length))
    except (RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"not a message: {type(error).__name__}") from None


class Guest:
    """The trusted side of a guest. Every method returns {"value": ...}, {"raised": [type, message]} or {"gone": why}."""

    def __init__(self, sock: socket.socket, seconds: float, output: int):
        self._sock, self._seconds, self._output = sock, seconds, output
        self._gone = ""
        self._objects: Callable = Remote

    def define(self, source: str, names: Sequence[str] = (), before: str = "", after: str = "", of: str = "") -> dict:
        """Run a text as a module, between two others. The value lists those of `names` that it does not define itself.

        of: a class whose methods count as well.
        """
        return self._ask({"define": source, "names": list(names), "before": before, "after": after, "of": of})

    def call(self, name: str, arguments: tuple = (), keywords: dict | None = None, of: str = "") -> dict:
        """Call a function of that module; if it is missing, the method of that name of a new instance of the class `of`.

        A value that is not plain data is returned as a `Remote`. Raises TypeError for an argument that is neither.
        """
        return self._ask(self._given(arguments, keywords) | {"call": name, "of": of})

    def _given(self, arguments: tuple, keywords: dict | None) -> dict:
        kept: list = []
        packed = [pack(each, kept) for each in arguments]
        named = {key: pack(each, kept) for key, each in (keywords or {}).items()}
        if kept:
            raise TypeError(f"the tests pass a {type(kept[0]).__name__}; only plain values can be passed to the answer")
        return {"arguments": packed, "keywords": named}

    def operate(self, name: str, arguments: tuple, keywords: dict | None = None) -> dict:
        """Apply a function of `operator` or a builtin, where at least one argument is an object of the guest's."""
        return self._ask(self._given(arguments, keywords) | {"operate": name})

    def objects(self, ask: Callable) -> None:
        """From now on, objects of the guest's are `Own`. ask: gives the value of `operate`, or raises an error."""
        made: list[Own] = []
        self._objects = lambda place, true=True: Own(place, true, ask, made)

    def get(self, name: str) -> dict:
        """The value of a name of that module."""
        return self._ask({"get": name})

    def program(self, source: str, stdin: str) -> dict:
        """Run a text as a program: the value is {"status", "stdout", "error"}."""
        return self._ask({"program": source, "stdin": stdin})

    def command(self, words: list[str], files: dict[str, str]) -> dict:
        """Write files (name: text) and run a command beside them: the value is {"status", "stdout", "error"}."""
        return self._ask({"command": words, "files": files})

    def _ask(self, question: dict) -> dict:
        if self._gone:
            return {"gone": self._gone}
        try:
            self._sock.settimeout(self._seconds)
            data = marshal.dumps(question)
            self._sock.sendall(struct.pack(">I", len(data)) + data)
            reply = receive(self._sock, self._output)
            if not isinstance(reply, dict) or not (set(reply) == {"value"} or set(reply) == {"raised"}):
                raise ValueError("not a reply")
            if "value" in reply:
                return {"value": unpack(reply["value"], self._objects)}
            kind, message = reply["raised"]
            return {"raised": [str(kind), str(message)]}
        except TimeoutError:
            self._gone = f"no answer within {self._seconds:g} s"
        except (EOFError, OSError):
            self._gone = "it ended itself or was ended"
        except (ValueError, TypeError, KeyError, IndexError, RecursionError, AttributeError) as error:
            self._gone = f"its reply is not plain data: {error}"[:200]
        return {"gone": self._gone}


class Own(Remote):
    """An object of the answer's, for tests that use a class of the answer's: what it is asked is asked of the guest.

    What it returns is plain data, or another object. Its own code decides a comparison only where the tests have made it by the
    name of its class (`_direct`), and only where it also tells other values apart; what a function returns is never asked
    whether it is right.
    """

    def __init__(self, place: int, true: bool | None, ask: Callable, made: list[Own]):
        vars(self).update(_place=place, _true=true, _ask=ask, _made=made, _direct=False, _makes=False, _another=None)

    def __getattr__(self, name: str) -> object:
        found = None if name.startswith("__") else self._ask("getattr", self, name)
        if name.startswith("__") or isinstance(found, Own) and not self._direct and any(hasattr(each, name) for each in DATA):
            raise AttributeError(f"an object of the answer's has no {name}")
        return self._kin(found, self._makes)

    def __setattr__(self, name: str, value: object) -> None:
        self._ask("setattr", self, name, value)

    def __call__(self, *arguments: object, **keywords: object) -> object:
        found = self._kin(self._ask("call", self, *arguments, **keywords), False, self._makes)
        if self._makes and isinstance(found, Own) and arguments:
            vars(found)["_another"] = lambda: self._ask("call", self, *_decoys(arguments[0])[-1:], *arguments[1:], **keywords)
        return found

    def _kin(self, found: object, makes: bool = False, direct: bool = False) -> object:
        """makes: it is a class, or a method of one; direct: the tests have made it."""
        if isinstance(found, Own):
            vars(found).update(_makes=makes, _direct=direct)
            self._made.extend([found] if direct else [])
        return found

    def __eq__(self, other: object) -> bool:
        if self is other or not self._decides(other):
            return self is other
        told = self._same(other) and not any(map(self._same, _decoys(other)))
        return told and (not isinstance(other, Own) or self._apart(other))

    def __ne__(self, other: object) -> bool:
        if self is other or not self._decides(other):
            return self is not other
        return self._ask("ne", self, other) is True and self._ask("ne", self, self) is not True

    def _decides(self, other: object) -> bool:
        return self._direct or isinstance(other, Own) and other._direct

    def _same(self, other: object) -> bool:
        return self._ask("eq", self, other) is True

    def _apart(self, other: Own) -> bool:
        """Whether two that say that they are equal are one, hold the same, or are not equal to others that the tests make."""
        if self._ask("is_", self, other) is True:
            return True
        with contextlib.suppress(Exception):
            if (held := self._ask("vars", self)) and held == self._ask("vars", other):
                return True
        with contextlib.suppress(Exception):
            self._made.extend(each() for each in (self._another, other._another) if each)
        return any(not self._same(each) for each in self._made[-SOME:])

    def __hash__(self) -> int:
        return self._ask("hash", self) if self._direct else object.__hash__(self)

    def __bool__(self) -> bool:
        return self._ask("truth", self) is True if self._direct else super().__bool__()

    def __instancecheck__(self, other: object) -> bool:
        return isinstance(other, Own) and self._ask("isinstance", other, self) is True

    def __contains__(self, item: object) -> bool:
        has = self._direct and self._ask("contains", self, item) is True
        return has and not any(self._ask("contains", self, each) is True for each in _decoys(item))


DATA = (str, bytes, list, dict, set, float)  # no object of the answer's stands in for one
SOME = 20  # objects that another one is compared with


def _decoys(value: object) -> list[object]:
    """What is not equal to a value: an object that says that it is equal to everything is not believed."""
    return ["\0", *([value + 1] if isinstance(value, (int, float)) and not isinstance(value, bool) else [])]


def _operators() -> None:
    def asks(name: str, swapped: bool = False, only_direct: bool = True) -> Callable:
        def method(self: Own, *others: object) -> object:
            if only_direct and not all(each._direct for each in (self, *others) if isinstance(each, Own)):
                return NotImplemented
            return self._kin(self._ask(name, *((*others, self) if swapped else (self, *others))), False, only_direct)

        return method

    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor", "lshift", "rshift"):
        setattr(Own, f"__{name.strip('_')}__", asks(name))
        setattr(Own, f"__r{name.strip('_')}__", asks(name, swapped=True))
    for name in ("lt", "le", "gt", "ge", "neg", "pos", "invert"):
        setattr(Own, f"__{name}__", asks(name))
    for name in ("getitem", "setitem", "delitem", "len", "iter", "str", "repr", "int", "float", "round", "abs", "index"):
        setattr(Own, f"__{name}__", asks(name, only_direct=False))


_operators()


def give_way(*_: object) -> None:
    """Take idle priority, so that a slow call does not delay fast ones."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def factory(sock: socket.socket, module: str, limits: dict) -> None:
    """Import a module, then fork a seat for each socket that arrives."""
    try:
        loaded = importlib.import_module(module)
        getattr(loaded, "warm", lambda: None)()
    except BaseException:
        send(sock, {"error": traceback.format_exc(limit=-3)})
        return
    send(sock, {"ready": True})
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # seats are not waited for
    limit(limits)
    gc.collect()
    gc.freeze()  # so that the first collection after a fork does not copy all pages
    while True:
        _, fds, _, _ = socket.recv_fds(sock, 1, 1)
        if not fds:
            return
        if not os.fork():
            sock.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            with contextlib.suppress(EOFError, OSError):
                seat(socket.socket(fileno=fds[0]), loaded)
            os._exit(0)
        os.close(fds[0])


def seat(sock: socket.socket, module: object) -> None:
    """Call functions of the module, one after another. A call that takes too much CPU ends the process."""
    while True:
        _, fds, _, _ = socket.recv_fds(sock, 1, 1)
        asked = receive(sock)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, asked["seconds"])
        signal.signal(signal.SIGVTALRM, give_way)
        signal.setitimer(signal.ITIMER_VIRTUAL, HASTE)
        arguments = asked["arguments"]
        if fds:
            arguments = [Guest(socket.socket(fileno=fds[0]), asked["wait"], asked["output"]), *arguments]
        try:
            reply = {"value": getattr(module, asked["function"])(*arguments)}
        except BaseException as error:
            reply = {"raised": f"{type(error).__name__}: {said(error)}"}
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        del arguments
        slow = os.sched_getscheduler(0) == os.SCHED_IDLE
        send(sock, reply | {"last": slow})
        if slow:  # idle priority cannot be undone
            return


def main() -> None:
    told = json.loads(sys.argv[1])
    sys.path.extend(told["path"])
    factory(socket.socket(fileno=channel()), told["module"], told["limits"])


if __name__ == "__main__":
    main()
