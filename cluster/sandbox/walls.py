"""The sandbox: runs whatever evaluates a model's text, isolated by bubblewrap and within limits of CPU time and memory.

More than 400 lines: starting, watching and ending isolated processes is one protocol, easier to review in one place.

The walls: user, pid, net, ipc, uts and mount namespaces, a read-only root that holds the system's libraries and Python but
nothing of the user's, an empty /proc, a small /tmp that is deleted with its process, no environment, and a seccomp filter. The
kernel does not count root's processes: when started by root, a second bubblewrap runs as nobody inside the first.

A call goes to a *seat*: a process forked from one that has imported the function's module (cluster/sandbox/inside.py), which
takes milliseconds. A *guest* is the process that runs a model's text. It serves one call; a few are started in advance. Guests
are forked by a *nursery* (cluster/sandbox/guest.py), each into namespaces of its own. A slow call gets idle priority.
Sources: bwrap(1), seccomp(2), setrlimit(2).
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import marshal
import os
import py_compile
import queue
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cluster.sandbox.inside import receive, send
from iteration.errors import UserError
from iteration.parts import at_least
from iteration.types import Call, Outcome

INSIDE, GUEST = (Path(__file__).with_name(name) for name in ("inside.py", "guest.py"))
START_SECONDS = 60.0  # for a factory to import its module
PATIENCE = 0.06  # seconds after which a call no longer counts towards the number that may start at once
AT_ONCE = 32  # calls in flight, slow ones included
CLOSING = 0.05  # seconds between the end of a guest's channel and of the guest
STARVED = 0.5  # share of its time that a process waited for a core; above it, a timeout is not the call's fault
MEGABYTE = 1 << 20
FACTORY_MB = 8192  # address space of a factory and of each of its seats, which never run a model's text
SETTINGS = ("alternatives", "ld.so.cache", "ocamlfind.conf", "ocamlfind.conf.d")  # the visible part of /etc
ROOM = "/flywheel"  # the folder inside that holds installed packages and ours

# System calls that the seccomp filter refuses.
REFUSED = """
ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd unshare setns mount umount2 pivot_root chroot
move_mount open_tree fsopen fsmount fsconfig fspick mount_setattr bpf perf_event_open userfaultfd io_uring_setup io_uring_enter
io_uring_register keyctl add_key request_key init_module finit_module delete_module kexec_load kexec_file_load swapon swapoff
reboot settimeofday clock_settime adjtimex clock_adjtime acct quotactl syslog personality open_by_handle_at name_to_handle_at
lookup_dcookie iopl ioperm vhangup nfsservctl
"""


@dataclass
class SandboxOptions:
    name: str = "bubblewrap"  # isolation; rlimits: limits only, for code that you trust not to be hostile
    memory_mb: int = 1024  # of one untrusted text, all its processes together
    processes: int = 16  # how many it may have
    files_mb: int = 32  # how much it may write, and the size of one reply or output

    def __post_init__(self) -> None:
        if self.name not in ("bubblewrap", "rlimits"):
            raise ValueError(f"name is {self.name!r}; expected bubblewrap or rlimits")
        at_least(self, memory_mb=1, processes=1, files_mb=1)


def check(options: SandboxOptions, executes: bool, who: str) -> None:
    """Raises UserError where a verifier that runs a model's text could not be isolated on this machine."""
    if options.name == "rlimits" or not executes:
        return
    missing = why_no_walls()
    if missing:
        raise UserError(
            f"{who} runs model-written code and needs isolation: {missing}. Type (Debian) apt-get install bubblewrap; or "
            "sandbox=rlimits, which limits time and memory but hides neither files nor network"
        )


def why_no_walls() -> str:
    """Why bubblewrap does not work on this machine; "" where it does."""
    if not shutil.which("bwrap"):
        return "bwrap (package bubblewrap) is not installed"
    tried = subprocess.run([*walls({}, 1), python(), "-I", "-S", "-c", ""], capture_output=True, text=True, timeout=60)
    return "" if tried.returncode == 0 else f"bwrap does not work here ({tried.stderr.strip().splitlines()[-1]})"


def python() -> str:
    """The path of this Python, not a virtual environment's link to it."""
    return str(Path(sys.executable).resolve())


def walls(shown: dict[Path, str], megabytes: int, program: str = "", nursery: bool = False) -> list[str]:
    """The command that isolates the command appended to it. shown: folders and files visible inside, and where; program: one
    that finds its own path through /proc; nursery: the command isolates its children itself, which takes a /proc.
    """
    base = Path(sys.base_prefix).resolve()
    outer = ["--ro-bind", "/usr", "/usr"]
    if not base.is_relative_to("/usr"):
        shown = {base: str(base)} | shown
    for above in dict.fromkeys(above for place in shown.values() for above in reversed(Path(place).parents[:-1])):
        outer += ["--perms", "0755", "--dir", str(above)]  # readable by nobody
    outer += [word for path, place in shown.items() for word in ("--ro-bind", str(path), place)]
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path("/", name).is_symlink():
            outer += ["--symlink", f"usr/{name}", f"/{name}"]
        elif Path("/", name).is_dir():
            outer += ["--ro-bind", f"/{name}", f"/{name}"]
    outer += ["--perms", "0755", "--dir", "/etc"]
    outer += [word for name in SETTINGS for word in ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")]
    unshare = ["--unshare-all", "--unshare-user", "--die-with-parent", "--cap-drop", "ALL"]
    sized = ["--size", str(megabytes * MEGABYTE), "--tmpfs"]
    rooms = ["--dev", "/dev", *sized, "/dev/shm", "--remount-ro", "/dev", *sized, "/tmp", "--chdir", "/tmp", "--clearenv"]
    clean = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
    clean |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    clean |= {name: value for name, value in os.environ.items() if name.startswith("OPENBLAS_CORETYPE")}
    rooms += [word for name, value in clean.items() for word in ("--setenv", name, value)]
    itself = []
    for process in ("self", *range(1, 100)) if program else ():  # pids stay below 100: a guest serves one call
        itself += ["--perms", "0755", "--dir", f"/proc/{process}", "--symlink", program, f"/proc/{process}/exe"]
    if os.geteuid():
        proc = ["--proc", "/proc"] if nursery else itself
        return ["bwrap", *outer, *proc, *unshare, *rooms, "--remount-ro", "/", "--"]
    # The kernel limits the number of root's processes in no namespace: a second bwrap runs as nobody inside the first.
    first = ["bwrap", "--die-with-parent", "--unshare-pid", *outer, "--dev", "/dev", "--proc", "/proc", "--dir", "/tmp"]
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    proc = ["--bind", "/proc", "/proc"] if nursery else ["--tmpfs", "/proc", *itself, "--remount-ro", "/proc"]
    second = ["bwrap", *unshare, "--as-pid-1", "--ro-bind", "/", "/", *proc]
    return [*first, "--", *nobody, *second, *rooms, "--"]


def seccomp_filter() -> bytes:
    """The compiled filter for `bwrap --seccomp`; empty without libseccomp."""
    try:
        import pyseccomp
    except (ImportError, OSError, RuntimeError):
        return b""
    rules = pyseccomp.SyscallFilter(defaction=pyseccomp.ALLOW)
    for name in REFUSED.split():
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # not on this processor
            rules.add_rule(pyseccomp.ERRNO(1), name)
    rules.add_rule(pyseccomp.ERRNO(1), "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, 0x10000000, 0x10000000))  # NEWUSER
    rules.add_rule(pyseccomp.ERRNO(38), "clone3")  # its flags cannot be seen; libraries fall back to clone
    rules.add_rule(pyseccomp.ERRNO(1), "socket", pyseccomp.Arg(0, pyseccomp.NE, socket.AF_UNIX))
    rules.add_rule(pyseccomp.ERRNO(1), "ioctl", pyseccomp.Arg(1, pyseccomp.EQ, 0x5412))  # TIOCSTI
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


class Inmate:
    """An isolated process and the socket to it. program: a Python file; told: its first argument; rules: a seccomp filter;
    itself, nursery: `program` and `nursery` of `walls`."""

    def __init__(
        self,
        options: SandboxOptions,
        program: str,
        told: str,
        shown: dict[Path, str],
        walled: bool,
        rules: bytes,
        itself: str = "",
        nursery: bool = False,
    ):
        self.socket, theirs = socket.socketpair()
        self.nursery, self.gone = None, False  # nursery: that forked this guest; gone: this nursery has died
        self._folder = ""
        fds, environment = [], {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
        words = [python(), "-I", "-S", program if not walled else f"{ROOM}/{Path(program).name}", told]
        if walled:
            around = walls(shown | {Path(program): f"{ROOM}/{Path(program).name}"}, options.files_mb, itself, nursery)
            if rules:
                file = os.memfd_create("filter", 0)
                os.write(file, rules)
                os.lseek(file, 0, os.SEEK_SET)
                around[-1:-1] = ["--seccomp", str(file)]
                fds.append(file)
            words, environment = around + words, None
        else:
            self._folder = tempfile.mkdtemp(prefix="flywheel-")
        try:
            self.process = subprocess.Popen(
                words,
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=fds,
                env=environment,
                cwd=self._folder or "/",
                process_group=0,  # same session: the scheduler compares priorities within one
            )
        finally:
            theirs.close()
            for fd in fds:
                os.close(fd)

    def wait_ready(self) -> str:
        """ "" once it is ready, else why not."""
        self.socket.settimeout(START_SECONDS)
        try:
            reply = receive(self.socket)
        except (EOFError, OSError, TimeoutError):
            return f"the sandbox did not start (status {self.process.poll()})"
        return reply.get("error", "")

    def family(self) -> list[int]:
        """The pids of all processes inside, as this process sees them."""
        return family_of(self.process.pid)

    def kill(self) -> None:
        self.process.kill()

    def lost(self) -> bool:
        return False

    def end(self) -> int | None:
        """Kill it and all processes inside. Returns its exit status if it had already ended, else None."""
        status = self.process.poll()
        self.socket.close()
        if self._folder:  # not isolated: its children are killed as a group
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        if status is None:
            self.process.kill()
        self.process.wait()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
        return status


def family_of(pid: int) -> list[int]:
    family, todo = [], [pid]
    while todo:
        family.append(todo.pop())
        with contextlib.suppress(OSError):
            todo += map(int, Path(f"/proc/{family[-1]}/task/{family[-1]}/children").read_text().split())
    return family


class Fork:
    """A guest forked by a nursery, with the interface of an Inmate. Raises OSError if the nursery has died."""

    def __init__(self, nursery: Inmate):
        self.nursery = nursery
        self.socket, theirs = socket.socketpair()
        self._report, reports = socket.socketpair()
        self._pidfd, self._pid = -1, 0
        self._lost, self._over, self._status = False, False, None
        try:
            socket.send_fds(nursery.socket, [b"x"], [theirs.fileno(), reports.fileno()])
        except OSError:
            self.end()
            raise
        finally:
            theirs.close()
            reports.close()

    def wait_ready(self) -> str:
        """ "" once it is ready, else why not."""
        self._report.settimeout(START_SECONDS)
        self.socket.settimeout(START_SECONDS)
        try:
            said, fds, _, _ = socket.recv_fds(self._report, 1, 1)
            self._lost = not said
            if not fds:
                return "the sandbox could not fork a guest"
            self._pidfd = fds[0]
            told = Path(f"/proc/self/fdinfo/{self._pidfd}").read_text()
            self._pid = int(told.rpartition("Pid:")[2].split()[0])
            receive(self.socket)
        except (EOFError, OSError, TimeoutError):
            return f"a guest did not start (status {self._ended()})"
        return ""

    def family(self) -> list[int]:
        """The pids of all processes inside, as this process sees them."""
        return family_of(self._pid)

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def lost(self) -> bool:
        """Whether the nursery died, and the guest with it: a missing reply is then not the fault of the guest's text."""
        self._ended()
        self.nursery.gone |= self._lost
        return self._lost

    def end(self) -> int | None:
        """As `Inmate.end`."""
        status = self._ended()
        self.socket.close()
        self._report.close()
        if self._pidfd >= 0:
            self.kill()
            os.close(self._pidfd)
            self._pidfd = -1
        return status

    def _ended(self) -> int | None:
        """Its exit status if it had ended itself. One that has closed its channel is ended, or will not answer any more."""
        if self._over or self._pidfd < 0 or not self._closed():
            return self._status
        self._over = True
        itself = bool(select.select([self._pidfd], [], [], CLOSING)[0])
        self.kill()
        self._report.settimeout(START_SECONDS)
        with contextlib.suppress(OSError):
            said = self._report.recv(16)
            self._lost = not said
            self._status = int(said) if said and itself else None
        return self._status

    def _closed(self) -> bool:
        self.socket.settimeout(0)
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True


class Sandbox:
    """Runs calls, many at a time. executes: their guests run a model's text, which needs isolation.

    seconds: CPU time of one call; program: what guests run, if it is not one of the system's; folders: what they see besides
    the system's, at the same path; reserves: the program reserves far more address space than memory, so its memory is watched,
    not limited. Raises UserError where bubblewrap does not work or would hide one of the folders.
    """

    def __init__(
        self,
        options: SandboxOptions,
        executes: bool,
        seconds: float,
        program: str = "",
        folders: Sequence[str] = (),
        reserves: bool = False,
    ):
        self._options, self._executes, self._seconds = options, executes, seconds
        self._wait = 5 * seconds + 5  # wall time of a call that sleeps; one that computes reaches its CPU limit first
        self._most = 60 * seconds + 120  # wall time of any call, on a machine that is overloaded
        self._walled = options.name == "bubblewrap" and not why_no_walls()
        if executes and options.name == "bubblewrap" and not self._walled:
            raise UserError(why_no_walls())
        self._rules = seccomp_filter() if self._walled else b""
        self._folder = tempfile.TemporaryDirectory(prefix="flywheel-")
        # Compiled once: a guest is started for each answer.
        self._guest_program = py_compile.compile(str(GUEST), f"{self._folder.name}/guest.pyc", doraise=True)
        self._factories: dict[str, Inmate] = {}
        self._seats: dict[str, list[socket.socket]] = {}
        self._spare: queue.SimpleQueue[Inmate | Fork | OSError] = queue.SimpleQueue()
        self._coming = 0  # guests that are ready or being started
        cores = os.cpu_count() or 1
        # Calls that may start at once: calls with a guest alternate between two processes, so more of them keep the cores busy.
        self._turns = {False: threading.Semaphore(cores + 1), True: threading.Semaphore(2 * cores + 2)}
        self._lock, self._nursing = threading.Lock(), threading.Lock()
        self._threads = ThreadPoolExecutor(AT_ONCE, "sandbox")
        self._starters = ThreadPoolExecutor(os.cpu_count() or 1, "guests")
        self._closed = False
        packages = [path for path in map(Path, sys.path) if path.is_dir() and "site-packages" in path.parts]
        self._packages = {path: f"{ROOM}/site{i}" for i, path in enumerate(packages)}
        self._itself, self._reserves = program, reserves
        # One nursery forks all guests if the kernel allows nested namespaces; a prover runs much longer than it starts.
        self._forks = self._walled and not program
        self._nursery: Inmate | None = None
        self._folders = {path: str(path) for path in map(Path, folders) if not path.is_relative_to("/usr")}
        hidden = [place for place in self._folders.values() if Path(place).parts[1:2] in (("tmp",), ("dev",), ("proc",))]
        if hidden and self._walled:
            raise UserError(f"{hidden[0]} is not visible in the sandbox, which has its own /tmp; put it elsewhere")

    # what callers use

    def run(self, calls: Sequence[Call]) -> list[Outcome]:
        """One outcome for each call, in order. An error of a call is an outcome; nothing is raised."""
        self._start_guests(min(sum(call.guest for call in calls), os.cpu_count() or 1))
        return list(self._threads.map(self._one, calls))

    def close(self) -> None:
        self._closed = True
        self._threads.shutdown(cancel_futures=True)
        self._starters.shutdown()
        for seats in self._seats.values():
            for seat in seats:
                seat.close()
        for each in self._factories.values():
            each.end()
        if self._nursery:
            self._nursery.end()
        with contextlib.suppress(queue.Empty):
            while True:
                left = self._spare.get_nowait()
                if not isinstance(left, OSError):
                    left.end()
        self._folder.cleanup()

    # one call

    def _one(self, call: Call) -> Outcome:
        for _ in range(2):  # an outcome "broke" is retried once
            try:
                outcome = self._try(call)
            except (OSError, EOFError, ValueError, RuntimeError, queue.Empty) as error:
                outcome = Outcome("broke", why=f"the sandbox broke: {error or type(error).__name__}")
            if outcome.state != "broke":
                break
        return outcome

    def _try(self, call: Call) -> Outcome:
        module, _, function = call.function.rpartition(":")
        with self._turn(call.guest) as release:
            guest = self._take_guest() if call.guest else None
            watch = Watch(guest, self._options.memory_mb * MEGABYTE, self._seconds, self._wait, self._most) if guest else None
            try:
                seat = self._seat(module)
                asked = {
                    "function": function,
                    "arguments": call.arguments,
                    "seconds": self._seconds,
                    "wait": self._most,
                    "output": self._options.files_mb * MEGABYTE,
                }
                socket.send_fds(seat, [b"x"], [guest.socket.fileno()] if guest else [])
                send(seat, asked)
                outcome = self._reply(seat, module, release, watch)
            finally:
                lost = bool(guest) and guest.lost()
                status = guest.end() if guest else None
            if lost:
                return Outcome("broke", why="the sandbox lost the process that its guests come from")
            if watch is not None:
                outcome = watch.judged(outcome, status)
        return outcome

    def _reply(self, seat: socket.socket, module: str, release, watch) -> Outcome:
        began, most = time.monotonic(), 2 * self._most
        pause = PATIENCE
        while True:
            try:
                seat.settimeout(pause)
                struct_length = seat.recv(4, socket.MSG_PEEK)
                if not struct_length:
                    raise EOFError
                seat.settimeout(START_SECONDS)
                reply = receive(seat)
                break
            except TimeoutError:
                release()
                pause = 0.1
                if watch is not None:
                    watch.look()
                if time.monotonic() - began > most:
                    seat.close()
                    return Outcome("broke", why=f"no end after {most:.0f} s")
            except EOFError:
                seat.close()
                return Outcome("late", why=f"no end after {self._seconds:g} s of CPU")
            except ConnectionError:
                seat.close()
                return Outcome("broke", why="the sandbox lost a process")
        if reply.pop("last"):
            seat.close()
        else:
            with self._lock:
                self._seats[module].append(seat)
        if "raised" in reply:
            return Outcome("raised", why=reply["raised"])
        return Outcome("done", reply["value"])

    @contextlib.contextmanager
    def _turn(self, guest: bool):
        """Limits how many calls start at once; a call that takes long releases its turn."""
        held = threading.Event()
        self._turns[guest].acquire()
        held.set()

        def release() -> None:
            if held.is_set():
                held.clear()
                self._turns[guest].release()

        try:
            yield release
        finally:
            release()

    # processes inside

    def _seat(self, module: str) -> socket.socket:
        with self._lock:
            free = self._seats.setdefault(module, [])
            if free:
                return free.pop()
            mine, theirs = socket.socketpair()
            for fresh in (False, True):
                factory = self._factory(module, fresh)
                try:
                    socket.send_fds(factory.socket, [b"x"], [theirs.fileno()])
                    break
                except OSError:
                    if fresh:
                        raise
            theirs.close()
            return mine

    def _factory(self, module: str, fresh: bool) -> Inmate:
        if fresh and module in self._factories:
            self._factories.pop(module).end()
        if module not in self._factories:
            top = module.partition(".")[0]
            spec = importlib.util.find_spec(top)
            if spec is None or not spec.origin:
                raise RuntimeError(f"there is no module {module}")
            package = Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)
            shown = {package: f"{ROOM}/{package.name}"} | self._packages
            limits = {"memory": FACTORY_MB * MEGABYTE, "files": self._options.files_mb * MEGABYTE}
            path = [ROOM if self._walled else str(package.parent), *self._sites()]
            told = json.dumps({"module": module, "limits": limits, "path": path})
            shown |= {GUEST: f"{ROOM}/guest.py"}
            made = Inmate(self._options, str(INSIDE), told, shown, self._walled, self._rules)
            why = made.wait_ready()
            if why:
                made.end()
                raise RuntimeError(f"{module} cannot be loaded: {why.strip().splitlines()[-1]}")
            self._factories[module] = made
        return self._factories[module]

    def _sites(self) -> list[str]:
        """Paths of installed packages, inside."""
        return [place if self._walled else str(path) for path, place in self._packages.items()]

    def _start_guests(self, n: int) -> None:
        """Start guests until `n` are ready or being started."""
        with self._lock:
            missing = 0 if self._closed else max(0, n - self._coming)
            self._coming += missing
        for _ in range(missing):
            self._starters.submit(self._new_guest)

    def _new_guest(self) -> None:
        try:
            nursery = self._ready_nursery()
            self._spare.put(Fork(nursery) if nursery else self._inmate({}, self._rules))
        except OSError as error:  # raised when the guest is taken
            self._spare.put(error)

    def _ready_nursery(self) -> Inmate | None:
        """The process that forks guests; None where it cannot, and each guest is started from scratch, which is slower."""
        with self._nursing:
            old = self._nursery
            if self._forks and (old is None or old.gone or old.process.poll() is not None):
                if old:
                    old.gone = True
                    old.end()
                made = self._inmate({"rules": self._rules, "megabytes": self._options.files_mb}, b"")
                self._forks = not made.wait_ready() and _can_fork(made)
                if self._forks:
                    self._nursery = made
                else:
                    made.end()
            return self._nursery if self._forks else None

    def _inmate(self, more: dict, rules: bytes) -> Inmate:
        limits = {
            "memory": 0 if self._reserves else self._options.memory_mb * MEGABYTE,
            "files": self._options.files_mb * MEGABYTE,
            "processes": self._options.processes if self._walled else 0,
            "seconds": self._seconds,
            "output": self._options.files_mb * MEGABYTE // 8,
        }
        told = marshal.dumps({"limits": limits, "path": self._sites()} | more).hex()
        shown = self._packages | self._folders
        return Inmate(self._options, self._guest_program, told, shown, self._walled, rules, self._itself, bool(more))

    def _take_guest(self) -> Inmate | Fork:
        for _ in range(AT_ONCE):
            self._start_guests(1)
            guest = self._spare.get(timeout=START_SECONDS)
            with self._lock:
                self._coming -= 1
            self._start_guests(os.cpu_count() or 1)  # for the next calls
            if isinstance(guest, OSError):
                raise guest
            why = guest.wait_ready()
            if guest.lost() or guest.nursery and guest.nursery.gone:  # while it was waiting
                guest.end()
            elif why:
                guest.end()
                raise RuntimeError(why)
            else:
                return guest
        raise RuntimeError("the sandbox keeps losing its processes")


def _can_fork(nursery: Inmate) -> bool:
    try:
        trial = Fork(nursery)
    except OSError:
        return False
    why = trial.wait_ready()
    trial.end()
    return not why


class Watch:
    """Watches the time and memory of a guest that takes long."""

    def __init__(self, guest: Inmate | Fork, most: int, seconds: float, wait: float, longest: float):
        self._guest, self._most, self._seconds, self._wait, self._longest = guest, most, seconds, wait, longest
        self._began = time.monotonic()
        self._starved = 0.0
        self._behind = False
        self._killed = ""

    def look(self) -> None:
        """Give it idle priority; kill it if it takes too much memory or sleeps too long."""
        total, worked, waited = 0, 0.0, 0.0
        if not self._behind:
            for pid in self._guest.family():
                with contextlib.suppress(OSError):
                    os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
            self._behind = True
        for pid in self._guest.family():
            with contextlib.suppress(OSError, IndexError):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
                on, off = Path(f"/proc/{pid}/schedstat").read_text().split()[:2]
                worked, waited = worked + int(on) / 1e9, max(waited, int(off) / 1e9)
        self._starved = max(self._starved, waited)
        if self._killed:
            return
        if total > self._most:
            self._killed = "it took too much memory"
        elif worked > 2 * self._seconds + 1:  # several processes together; the kernel limits each one
            self._killed = "it took too much CPU"
        elif time.monotonic() - self._began - self._starved > self._wait:  # waiting for a core does not count
            self._killed = f"it did not end within {self._wait:g} s"
        if self._killed:
            self._guest.kill()

    def judged(self, outcome: Outcome, status: int | None) -> Outcome:
        """The outcome, with how the guest ended; "broke" if it was late because the machine was busy."""
        spent = time.monotonic() - self._began
        ended = self._killed
        if not ended and status in (128 + signal.SIGXCPU, 128 + signal.SIGKILL, -signal.SIGXCPU, -signal.SIGKILL):
            ended = "it took too much CPU"
        elif not ended and status is not None:
            ended = f"it ended with status {status}"
        if not self._killed and spent > self._longest and self._starved > STARVED * spent:
            return Outcome("broke", why=f"it waited {self._starved:.0f} of {spent:.0f} s for a core")
        return Outcome(outcome.state, outcome.value, outcome.why, ended)
