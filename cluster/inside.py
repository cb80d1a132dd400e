"""What runs behind the walls of the sandbox (cluster/sandbox.py starts it there, as a file; standard library only).

Two roles. A *factory* imports a trusted module once, and forks a process for each seat: it calls functions of that module. A
*guest* runs one text that a model wrote, and answers calls until it is killed. A seat's function may be given a guest to
question: only plain data comes from it, and nothing that decides ever lies in its memory.

Messages are JSON behind a length of four bytes.
"""

from __future__ import annotations

import collections.abc
import contextlib
import importlib
import io
import itertools
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import traceback

MOST = 64 << 20  # bytes of one message
ITEMS = 100_000  # taken out of an iterator
HASTE = 0.2  # seconds of CPU after which a call gets little beside others


def send(sock: socket.socket, message: object) -> None:
    data = json.dumps(message).encode()
    sock.sendall(struct.pack(">I", len(data)) + data)


def receive(sock: socket.socket, most: int = MOST) -> object:
    """The next message. Raises EOFError where the other side is gone, ValueError for what is no message."""
    (length,) = struct.unpack(">I", exactly(sock, 4))
    if length > most:
        raise ValueError(f"a message of {length} bytes, more than {most}")
    try:
        return json.loads(exactly(sock, length))
    except (RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"not a message: {type(error).__name__}") from None


def exactly(sock: socket.socket, n: int) -> bytes:
    parts = []
    while n:
        part = sock.recv(min(n, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        n -= len(part)
    return b"".join(parts)


# plain data, for both sides of a guest


def pack(value: object, keep: list) -> object:
    """A value as JSON. What is not plain stays where it is, in `keep`, and is named by its place there."""
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
    for kind, name in ((list, "l"), (tuple, "t"), (set, "s"), (frozenset, "f")):
        if isinstance(value, kind):
            return [name, [pack(each, keep) for each in value]]
    if isinstance(value, dict):
        return ["d", [[pack(k, keep), pack(v, keep)] for k, v in value.items()]]
    if isinstance(value, collections.abc.Iterator):
        return ["i", [pack(each, keep) for each in itertools.islice(value, ITEMS)]]
    if isinstance(value, Remote):
        return ["r", value.place]
    keep.append(value)
    return ["r", len(keep) - 1]


def unpack(value: object, kept: list | None = None) -> object:
    """The value again. kept: what places stand for; without it they are objects that equal nothing else."""
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
        return Remote(rest[0]) if kept is None else kept[rest[0]]
    items = [unpack(each, kept) for each in rest[0]]
    return {"l": list, "t": tuple, "s": set, "f": frozenset, "i": iter}[kind](items)


class Remote:
    """Something that stayed with the guest: it can be handed back, and equals only itself."""

    def __init__(self, place: int):
        self.place = place


# limits


def limit(limits: dict) -> None:
    """What one process may use. Children inherit it."""

    def at_most(what: int, most: int) -> None:
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))

    at_most(resource.RLIMIT_AS, limits["memory"])
    at_most(resource.RLIMIT_FSIZE, limits["files"])
    at_most(resource.RLIMIT_NOFILE, 64)
    at_most(resource.RLIMIT_CORE, 0)
    if limits.get("processes"):
        at_most(resource.RLIMIT_NPROC, limits["processes"])
    if limits.get("seconds"):
        seconds = max(1, int(limits["seconds"] + 0.999))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))  # SIGXCPU says why, SIGKILL cannot be ignored


def give_way(*_: object) -> None:
    """From now on take a hundredth of the time beside others: who needs long does not hold up those who do not."""
    with contextlib.suppress(OSError):
        os.nice(19)


def hurry() -> None:
    signal.signal(signal.SIGVTALRM, give_way)
    signal.setitimer(signal.ITIMER_VIRTUAL, HASTE)


# the guest


def guest(sock: socket.socket, limits: dict) -> None:
    """Run one untrusted text and answer calls about it, until the other side hangs up."""
    limit(limits)
    send(sock, {"ready": True})
    names: dict = {"__name__": "answer"}
    keep: list = []
    while True:
        try:
            asked = receive(sock)
        except EOFError:
            return
        hurry()
        try:
            reply = {"value": pack(reply_to(asked, names, keep, limits), keep)}
        except BaseException as error:
            what = next((each for each in type(error).__mro__ if each.__module__ == "builtins"), Exception).__name__
            reply = {"raised": [what, said(error)]}
        try:
            send(sock, reply)
        except (TypeError, ValueError, RecursionError, MemoryError) as error:
            send(sock, {"raised": ["TypeError", f"its value cannot be taken out: {type(error).__name__}"]})


def said(error: BaseException) -> str:
    try:
        return str(error)[:300]
    except BaseException:
        return ""


def reply_to(asked: dict, names: dict, keep: list, limits: dict) -> object:
    if "define" in asked:
        exec(compile(asked["define"], "answer.py", "exec"), names)
        return None
    if "program" in asked:
        return program(asked["program"], asked["stdin"], limits)
    if "command" in asked:
        return command(asked["command"], asked["files"], limits)
    target = names[asked["call"]]
    keywords = {name: unpack(value, keep) for name, value in asked["keywords"].items()}
    return target(*(unpack(value, keep) for value in asked["arguments"]), **keywords)


def program(source: str, stdin: str, limits: dict) -> dict:
    """Run a whole program in a process of its own: {"status", "stdout", "error"}."""
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
                exec(compile(source, "answer.py", "exec"), {"__name__": "__main__"})
                status = 0
            except SystemExit as error:
                status = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
            except BaseException:
                with contextlib.suppress(BaseException):
                    sys.stderr.write(traceback.format_exc(limit=-2))
            finally:
                with contextlib.suppress(BaseException):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(status & 255)
        _, end = os.waitpid(child, 0)
        status = os.waitstatus_to_exitcode(end)
        out.seek(0)
        err.seek(0)
        text = out.read(limits["output"]).decode("utf-8", "replace")
        return {"status": status, "stdout": text, "error": err.read()[-300:].decode("utf-8", "replace").strip()}


def command(words: list[str], files: dict[str, str], limits: dict) -> dict:
    """Write files and run a command beside them: {"status", "stdout", "error"}."""
    for name, text in files.items():
        with open(name, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
    with open("out", "w+b") as out, open("err", "w+b") as err:
        status = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err).returncode
        out.seek(0)
        err.seek(0)
        texts = [file.read(limits["output"]).decode("utf-8", "replace") for file in (out, err)]
    return {"status": status, "stdout": texts[0], "error": texts[1][-1000:].strip()}


class Guest:
    """The trusted side of a guest. Every method returns {"value": ...}, {"raised": [type, message]} or {"gone": why}."""

    def __init__(self, sock: socket.socket, seconds: float, output: int):
        self._sock, self._seconds, self._output = sock, seconds, output
        self._gone = ""

    def define(self, source: str) -> dict:
        """Run a text as a module."""
        return self._ask({"define": source})

    def call(self, name: str, arguments: tuple = (), keywords: dict | None = None) -> dict:
        """Call a function of that module. Plain arguments and values only; anything else is a `Remote`."""
        packed = [pack(each, []) for each in arguments]
        return self._ask({"call": name, "arguments": packed, "keywords": {k: pack(v, []) for k, v in (keywords or {}).items()}})

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
            send(self._sock, question)
            reply = receive(self._sock, self._output)
            if not isinstance(reply, dict) or not (set(reply) == {"value"} or set(reply) == {"raised"}):
                raise ValueError("not a reply")
            if "value" in reply:
                return {"value": unpack(reply["value"])}
            kind, message = reply["raised"]
            return {"raised": [str(kind), str(message)]}
        except TimeoutError:
            self._gone = f"no answer within {self._seconds:g} s"
        except (EOFError, OSError):
            self._gone = "it ended itself or was ended"
        except (ValueError, TypeError, KeyError, IndexError, RecursionError, AttributeError) as error:
            self._gone = f"what it replied is not data: {error}"[:200]
        return {"gone": self._gone}


# the factory and its seats


def factory(sock: socket.socket, module: str, limits: dict) -> None:
    """Import a module, then fork a seat for each socket that comes."""
    try:
        loaded = importlib.import_module(module)
        getattr(loaded, "warm", lambda: None)()
    except BaseException:
        send(sock, {"error": traceback.format_exc(limit=-3)})
        return
    send(sock, {"ready": True})
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for seats
    limit(limits)
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
        hurry()
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
        slow = os.nice(0) == 19
        send(sock, reply | {"last": slow})
        if slow:  # it cannot be made fast again
            return


def main() -> None:
    told = json.loads(sys.argv[1])
    sys.path += told["path"]
    sock = socket.socket(fileno=int(sys.argv[2]))
    if told["role"] == "guest":
        guest(sock, told["limits"])
    else:
        factory(sock, told["module"], told["limits"])


if __name__ == "__main__":
    main()
