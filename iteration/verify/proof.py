"""Proofs by tactics, checked by a theorem prover: Rocq (coqc), or Lean 4 where it is installed.

The answer is compiled in the sandbox, into a module. Then a second run of the prover, whose text has nothing from the answer,
states the theorem again, takes the module's proof for it, and lists what it assumes: what the answer printed or redefined has
no effect there.
Sources: Rocq's reference manual, Print Assumptions; Lean 4's, #print axioms.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from iteration.parts import above
from iteration.protocols import Sandbox
from iteration.types import Call, Outcome, Problem, State, Verdict

_BLOCK = re.compile(r"```(?:coq|rocq|lean4?)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
_LEAN_REFUSED = re.compile(
    r"\b(?:sorry|admit|axiom|unsafe|macro|macro_rules|elab|elab_rules|syntax|notation|infixl?|infixr|prefix|postfix|import|initialize|"
    r"run_tac|run_cmd|run_elab|by_elab|native_decide|implemented_by|extern|instance|attribute|set_option|theorem|lemma|def|end|"
    r"namespace|section|opaque|partial|constant|example|inductive|coinductive|structure|class|abbrev|variable|universe|mutual|private|"
    r"protected|public|module|prelude|alias|export|deriving|include|omit|IO)\b|[#@]"
)


PREAMBLE = {"rocq": "Require Import Arith Lia List Bool.", "lean": ""}


def tactics_of(text: str) -> str:
    """The proof in an answer: its last block between ```, else all of it, without Proof and Qed."""
    blocks = _BLOCK.findall(text)
    proof = (blocks[-1] if blocks else text).strip()
    proof = re.sub(r"^Proof\s*\.", "", proof).strip()
    return re.sub(r"(?:Qed|Defined)\s*\.$", "", proof).strip()


def bare(text: str) -> str:
    """A Rocq text with its comments and strings blanked out; comments nest. Raises ValueError where one has no end."""
    kept, depth, at = [], 0, 0
    while at < len(text):
        if text[at] == '"':
            end = text.find('"', at + 1)
            if end < 0:
                raise ValueError("a string without end")
            kept.append(" s ")
            at = end + 1
        elif text.startswith("(*", at):
            depth += 1
            at += 2
        elif text.startswith("*)", at) and depth:
            depth -= 1
            at += 2
            kept.append(" ")
        else:
            kept.append("" if depth else text[at])
            at += 1
    if depth:
        raise ValueError("a comment without end")
    return "".join(kept)


def refused(tactics: str) -> str:
    """Why a Rocq text is no proof by tactics, "" where it may be. A command begins with a capital letter, no tactic does."""
    try:
        text = bare(tactics)
    except ValueError as error:
        return str(error)
    for sentence in re.split(r"\.(?=\s|$)", text):
        first = re.sub(r"^(?:[-+*]+\s+|[{}]\s*|(?:\d+|all|par|!)\s*:\s*|\[\s*\w+\s*\]\s*:\s*)*", "", sentence.strip())
        if re.match(r"[A-Z#]", first):
            return f"{first.split()[0]!r} is a command, no tactic"
    banned = re.search(r"\b(?:admit|give_up|native_compute|native_cast_no_check|Admitted|Axiom|ltac2?:|Redirect)\b", text)
    return f"{banned[0]!r} is not allowed" if banned else ""


# what runs in the sandbox


def judge(
    guest, prover: str, start: list[str], preamble: str, statement: str, tactics: str, axioms: list[str], nonce: str
) -> dict:
    """Compile and check a proof: {"proved": bool, "why"}, or {"broken": why} where the prover itself does not work.

    start: the words that start the prover.
    """
    goal, answer, check = (rocq if prover == "rocq" else lean)(start, preamble, statement, tactics, nonce)
    why, said = run(guest, answer)
    if why:
        wrong = run(guest, goal)[0]  # is it the theorem that cannot be stated?
        return {"broken": wrong} if wrong and " gone: " not in wrong else {"proved": False, "why": why}
    why, said = run(guest, check)
    if why:
        return {"proved": False, "why": f"what was proved is not the theorem: {why}"[:300]}
    return assumed(said, prover, axioms)


def run(guest, text: tuple[list[str], str, str]) -> tuple[str, str]:
    """Run (command, file, its text): (why it failed or "", what it printed)."""
    words, name, content = text
    reply = guest.command(words, {name: content})
    told = reply.get("value")
    if not isinstance(told, dict):
        return f"the prover is gone: {reply.get('gone') or reply}"[:300], ""
    said = " ".join(str(told.get("error") or told.get("stdout") or "").split())
    if told.get("status") == 0:
        return "", str(told["stdout"])
    return (said[-300:] if said else f"the prover ended with status {told.get('status')}, as when its time is over"), ""


def rocq(start: list[str], preamble: str, statement: str, tactics: str, nonce: str) -> list[tuple[list[str], str, str]]:
    """(command, file, text) of each run: that the theorem can be stated, the answer, the check."""
    words = [*start, "-q", "-noglob", "-w", "none", "-R", ".", ""]
    goal = f"{preamble}\nDefinition goal_{nonce} : Prop := ({statement}).\n"
    answer = f"{preamble}\nTheorem it_{nonce} : {statement}.\nProof.\n{tactics}\nQed.\n"
    check = f"{goal}Require answer_{nonce}.\nDefinition ok_{nonce} : goal_{nonce} := answer_{nonce}.it_{nonce}.\n"
    check += f"Print Assumptions ok_{nonce}.\n"
    files = {f"goal_{nonce}.v": goal, f"answer_{nonce}.v": answer, f"check_{nonce}.v": check}
    return [([*words, name], name, text) for name, text in files.items()]


def lean(start: list[str], preamble: str, statement: str, tactics: str, nonce: str) -> list[tuple[list[str], str, str]]:
    """As `rocq`."""
    body = "\n".join("  " + line for line in tactics.splitlines())
    goal = f"{preamble}\ndef goal_{nonce} : Prop := ({statement})\n"
    answer = f"{preamble}\ntheorem it_{nonce} : {statement} := by\n{body}\n"
    check = f"import answer_{nonce}\n{goal}theorem ok_{nonce} : goal_{nonce} := it_{nonce}\n#print axioms ok_{nonce}\n"
    return [
        ([*start, f"goal_{nonce}.lean"], f"goal_{nonce}.lean", goal),
        ([*start, "-o", f"answer_{nonce}.olean", f"answer_{nonce}.lean"], f"answer_{nonce}.lean", answer),
        ([*start, f"check_{nonce}.lean"], f"check_{nonce}.lean", check),
    ]


def assumed(said: str, prover: str, axioms: list[str]) -> dict:
    """Whether a proof rests on nothing but the axioms that are allowed, from what the last run printed."""
    text = said.strip()
    if prover == "rocq":
        if text == "Closed under the global context":
            return {"proved": True, "why": ""}
        names = re.findall(r"^([\w.']+)\s*:", text.partition("Axioms:")[2], re.MULTILINE)
        names = names if text.startswith("Axioms:") else [text[:100]]
    elif "does not depend on any axioms" in text:
        return {"proved": True, "why": ""}
    else:
        match = re.search(r"depends on axioms: \[(.*?)\]", text, re.DOTALL)
        names = [name.strip() for name in match[1].split(",")] if match else [text[:100]]
    others = [name for name in names if name not in axioms]
    return {"proved": bool(names) and not others, "why": f"assumes {', '.join(others)}" if others else ""}


@dataclass
class Proof:
    prover: str = "rocq"  # or lean (Lean 4)
    preamble: str | None = None  # what stands before every theorem; by default what PREAMBLE says
    axioms: list[str] = field(default_factory=list)  # that a proof may rest on, by full name
    libraries: list[str] = field(default_factory=list)  # Lean: folders of compiled modules (of Mathlib: .lake/build/lib/lean)
    seconds: float = 10.0  # of CPU for one proof

    executes: ClassVar[bool] = True
    version: ClassVar[str] = "1"

    def __post_init__(self) -> None:
        above(self, seconds=0)
        commands = {"rocq": ("coqc", "apt-get install coq"), "lean": ("lean", "see lean-lang.org")}
        if self.prover not in commands:
            raise ValueError(f"verify.prover is {self.prover!r}; expected rocq or lean")
        command, install = commands[self.prover]
        path = shutil.which(command)
        if not path:
            raise ValueError(
                f"verify.prover={self.prover} needs the command {command}, which is not on this machine; {install}"
            )
        home = Path(path).resolve().parent.parent if self.prover == "rocq" else lean_home(path)
        missing = [folder for folder in self.libraries if not Path(folder).is_dir()]
        if missing:
            raise ValueError(f"verify.libraries names {missing[0]}, which is no folder")
        libraries = [str(Path(folder).resolve()) for folder in self.libraries]
        # What the prover reads, which the sandbox would hide: elan and opam install into the user's home.
        self.folders = [str(home), *libraries]
        self._preamble = PREAMBLE[self.prover] if self.preamble is None else self.preamble
        self._start = [str(home / "bin" / command)]
        if self.prover == "lean":
            self.program, self.reserves = self._start[0], True
            self._start = ["env", f"LEAN_PATH={':'.join(['.', *libraries])}", *self._start]

    def verify(self, problems: Sequence[Problem], answers: Sequence[str], sandbox: Sandbox) -> list[Verdict]:
        verdicts: list[Verdict | None] = []
        calls = []
        for problem, answer in zip(problems, answers, strict=True):
            tactics = tactics_of(answer)
            screened = refused(tactics) if self.prover == "rocq" else _screened(tactics)
            if not tactics:
                verdicts.append(Verdict(State.UNPARSEABLE, why="no proof"))
            elif screened:
                verdicts.append(Verdict(State.WRONG, " ".join(tactics.split())[:200], why=screened))
            else:
                verdicts.append(None)
                calls.append(
                    Call(
                        "iteration.verify.proof:judge",
                        [
                            self.prover,
                            self._start,
                            self._preamble,
                            problem.answer,
                            tactics,
                            list(self.axioms),
                            problem.id.translate(_NAME)[-20:],
                        ],
                        guest=True,
                    )
                )
        outcomes = iter(zip(calls, sandbox.run(calls), strict=True))
        return [verdict or self.verdict(*next(outcomes)) for verdict in verdicts]

    def verdict(self, call: Call, outcome: Outcome) -> Verdict:
        tactics = " ".join(call.arguments[4].split())[:200]
        if outcome.state in ("broke", "raised"):
            return Verdict(State.FAILED, why=f"the check {outcome.state}: {outcome.why}"[:300])
        if outcome.state == "late":
            return Verdict(State.WRONG, tactics, why=f"the proof did not end: {outcome.guest or outcome.why}")
        if "broken" in outcome.value:
            return Verdict(State.FAILED, why=f"the theorem cannot be stated: {outcome.value['broken']}"[:300])
        if outcome.value["proved"]:
            return Verdict(State.CORRECT, tactics, 1.0)
        return Verdict(State.WRONG, tactics, why=f"{outcome.value['why']} {outcome.guest}".strip())


def lean_home(command: str) -> Path:
    """Where Lean itself is installed: elan's `lean` only finds it. Raises ValueError where it finds none."""
    told = subprocess.run([command, "--print-prefix"], capture_output=True, text=True, timeout=60)
    if told.returncode or not told.stdout.strip():
        why = " ".join((told.stderr or told.stdout).split())[-200:]
        raise ValueError(f"verify.prover=lean: {command} does not say where Lean is ({why}); type elan default stable")
    return Path(told.stdout.strip()).resolve()


_NAME = {i: "_" for i in range(128) if not chr(i).isalnum()}


def _screened(tactics: str) -> str:
    match = _LEAN_REFUSED.search(tactics)
    return f"{match[0]!r} is not allowed" if match else ""
