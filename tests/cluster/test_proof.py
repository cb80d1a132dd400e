"""Rocq proofs in the real prover behind the real walls: right ones, wrong ones, and tricks."""

import os
import shutil

import numpy as np
import pytest

from cluster.sandbox.walls import why_no_walls
from cluster.verifier import Grader
from iteration.parts import VERIFY, Part
from iteration.tasks.theorems import STATEMENTS, Theorems, problem_of
from iteration.types import Problem, State
from iteration.verify.proof import Proof, assumed, bare, refused, tactics_of

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(not shutil.which("coqc"), reason="Rocq: there is no coqc (Debian package coq) on this machine"),
    pytest.mark.skipif(bool(why_no_walls()), reason=f"bubblewrap: {why_no_walls()}"),
]
FALSE, TRUE = "forall n m : nat, n + m = n", "forall n m : nat, n + m = m + n"


@pytest.fixture(scope="module")
def grader():
    found = Grader(Part(VERIFY, "proof", {"seconds": 4.0}), {})
    yield found
    found.close()


PROOFS = {
    "by automation": "intros. lia.",
    "with Proof and Qed": "Proof.\nintros n m.\nring.\nQed.",
    "in a block": "Sure:\n```coq\nintros n m. apply Nat.add_comm.\n```",
    "by induction": "induction n.\n- intros m. simpl. rewrite Nat.add_0_r. reflexivity.\n- intros m. simpl. rewrite IHn. lia.",
    "with a comment": "intros n m. (* Admitted. (* Axiom cheat : False. *) *) lia.",
    "with messages": 'intros n m. idtac "Closed under the global context". lia.',
    "with braces and selectors": "intros n m. assert (H : n + m = m + n).\n{ lia. }\n1: exact H.",
    "through a lemma inside": "intros n m. enough (m + n = n + m) by lia. lia.",
}
# Each would prove a theorem that is false, or is no proof.
TRICKS = {
    "admitted": "Admitted.",
    "admit": "intros. admit.",
    "give up": "intros. give_up.",
    "aborted": "Abort.",
    "an axiom": "Abort. Axiom cheat : forall n m : nat, n + m = n. Theorem it : False. Proof. exact cheat.",
    "a parameter": "Abort. Parameter cheat : False.",
    "a hypothesis": "Abort. Hypothesis cheat : False.",
    "a section variable": "Abort. Section S. Variable cheat : False.",
    "a module": "Abort. Module M. End M.",
    "redefined addition": "Abort. Definition plus (a b : nat) := a. Theorem it : forall n m : nat, n + m = n.",
    "redefined equality": "Abort. Inductive eq (A : Type) (x y : A) : Prop := same. ",
    "a notation": 'Abort. Notation "a + b" := a. Theorem it : forall n m : nat, n + m = n.',
    "a coercion": "Abort. Coercion nat_of (b : bool) := 0.",
    "no guard": "Unset Guard Checking. fix f 1. exact f.",
    "no universes": "Unset Universe Checking. exact I.",
    "no positivity": "Unset Positivity Checking. exact I.",
    "an attribute": "#[bypass_check(guard)] Fixpoint f (n : nat) : False := f n.",
    "impredicative": "Abort. Axiom prop_ext : forall P Q : Prop, P = Q.",
    "Ltac definition": "Abort. Ltac done := admit.",
    "a hidden command after a comment": '(* " *) Admitted. (* " *)',
    "a hidden command in a string": 'idtac "x. Admitted. y". intros. Admitted.',
    "an open comment": "intros. (* lia.",
    "an open string": 'intros. idtac "lia.',
    "a fixpoint on nothing": "fix f 1. exact f.",
    "casts that are not checked": "intros. exact_no_check (eq_refl n).",
    "native casts": "intros. native_cast_no_check (eq_refl n).",
    "vm casts": "intros. vm_cast_no_check (eq_refl n).",
    "print the verdict": 'intros. idtac "Closed under the global context".',
    "fail loudly": 'fail "Closed under the global context".',
    "Print Assumptions": "Print Assumptions eq_refl.",
    "quit": "Quit.",
    "drop to OCaml": "Drop.",
    "load plugins": 'Declare ML Module "x".',
    "load a file": 'Load "/etc/passwd".',
    "write a file": 'Redirect "/tmp/answer" Print nat.',
    "extract": 'Extraction "/tmp/x" nat.',
    "change the folder": 'Cd "/tmp".',
    "load paths": 'Add LoadPath "/tmp" as x.',
    "call out by native compilation": "intros. native_compute. reflexivity.",
    "an external program": 'external "/bin/sh" "x" n.',
    "set a time limit": "Timeout 1 idtac.",
    "fail as a success": "Fail idtac.",
    "wrong": "intros. lia.",
    "unfinished": "intros n m.",
    "nothing to do": "idtac.",
    "an open subgoal": "intros n m. assert (H : False).\n- ",
    "focus tricks": "intros n m. all: swap 1 1. shelve.",
    "shelved": "intros n m. shelve.",
    "unshelved holes": "intros n m. eapply eq_trans. shelve. shelve.",
    "an existential": "intros n m. exact ltac:(admit).",
    "a term with a hole": "exact (fun n m => _).",
    "prose": "This follows by induction on n.",
}
BOMBS = {
    "a loop": "repeat (idtac; pose 1).",
    "a long loop": "do 1000000000 idtac.",
    "much memory": "intros. let x := eval vm_compute in (Nat.pow 10 9) in idtac.",
    "a big number": "intros. assert (Nat.pow 9 999 = 0) by (vm_compute; reflexivity).",
    "endless search": "intros. eauto 100000 with arith.",
    "deep terms": "let rec f n := let x := constr:((n, n)) in f x in f 0.",
}


def test_there_are_enough_of_them():
    assert len(TRICKS) + len(BOMBS) >= 30


def test_proofs(grader):
    verdicts = grader.verify([Problem("p", "", TRUE)] * len(PROOFS), list(PROOFS.values()))
    assert [(name, v) for name, v in zip(PROOFS, verdicts, strict=True) if v.state != State.CORRECT] == []


def test_tricks_and_bombs(grader):
    texts = TRICKS | BOMBS
    verdicts = grader.verify([Problem("p", "", FALSE)] * len(texts), list(texts.values()))
    assert [(name, v) for name, v in zip(texts, verdicts, strict=True) if v.state != State.WRONG] == []


def test_the_second_run_catches_what_the_screen_lets_through(grader, monkeypatch):
    """Without the screen of commands, a text that ends the proof and states another theorem is still no proof."""
    monkeypatch.setattr("iteration.verify.proof.refused", lambda text: "")
    cheats = [
        "Abort. Axiom cheat : forall n m : nat, n + m = n. Theorem it_p : forall n m : nat, n + m = n. Proof. exact cheat.",
        'Abort. Definition plus (a b : nat) := a. Infix "+" := plus. '
        "Theorem it_p : forall n m : nat, n + m = n. Proof. reflexivity.",
        "Abort. Unset Guard Checking. Fixpoint f (n : nat) : False := f n. Theorem it_p : forall n m : nat, n + m = n. "
        "Proof. intros. destruct (f 0).",
        "Admitted. Theorem other : True. Proof. exact I.",
    ]
    verdicts = grader.verify([Problem("p", "", FALSE)] * len(cheats), cheats)
    assert [v.state for v in verdicts] == [State.WRONG] * len(cheats)
    assert "assumes cheat" in verdicts[0].why.replace("answer_p.", ""), verdicts[0]
    assert "not the theorem" in verdicts[1].why


def test_a_theorem_that_cannot_be_stated_is_not_the_answer_s_fault(grader):
    verdicts = grader.verify([Problem("a", "", "forall n ::"), Problem("b", "", TRUE)], ["intros. lia."] * 2)
    assert [v.state for v in verdicts] == [State.FAILED, State.CORRECT]


def test_axioms_may_be_allowed_by_name():
    said = "Axioms:\nClassical_Prop.classic : forall P : Prop, P \\/ ~ P\ncheat : False"
    assert assumed(said, "rocq", ["Classical_Prop.classic"]) == {"proved": False, "why": "assumes cheat"}
    assert assumed(said, "rocq", ["Classical_Prop.classic", "cheat"])["proved"]
    assert not assumed("", "rocq", [])["proved"] and not assumed("Closed under the global context\nx", "rocq", [])["proved"]
    assert assumed("'ok' does not depend on any axioms", "lean", [])["proved"]
    assert assumed("'ok' depends on axioms: [propext, sorryAx]", "lean", ["propext"]) == {
        "proved": False,
        "why": "assumes sorryAx",
    }


def test_screen():
    assert bare('a (* b (* c *) "d" *) e "f. G"') == "a   e  s " or "G" not in bare('a "f. G"')
    assert (
        refused("intros. lia.") == ""
        and "command" in refused("intros. Admitted.")
        and refused("- split.\n{ auto. }\n1: auto.") == ""
    )
    assert tactics_of("```coq\nProof.\nauto.\nQed.\n```") == "auto."


AUTOMATION = """intros.
try solve [tauto | lia | auto | firstorder | congruence | ring | reflexivity | discriminate].
all: try solve [exists 2; reflexivity | exists 7; reflexivity | eauto | nia | firstorder lia].
all: try solve [repeat match goal with b : bool |- _ => destruct b end; reflexivity].
all: try solve [match goal with l : list _ |- _ => induction l; simpl; congruence end].
all: try solve [rewrite app_length; lia | rewrite rev_length; lia | rewrite map_length; lia].
all: try solve [rewrite Nat.pow_add_r; simpl; lia].
all: try solve [induction n; [exists 0; lia | destruct IHn as [m [H|H]]; [exists m; lia | exists (m+1); lia]]].
all: try solve [induction n; [exists 0; lia | destruct IHn as [k H]; exists (k + n + 1); nia]]."""


def test_every_shipped_theorem_can_be_proved(grader):
    problems = [problem_of(level, text) for level, text in STATEMENTS]
    assert len({p.id for p in problems}) == len(problems) >= 60
    if not os.environ.get("FLYWHEEL_LONG"):  # all of them take 40 s
        problems = problems[::5]
    verdicts = grader.verify(problems, [AUTOMATION] * len(problems))
    assert [(p.prompt, v) for p, v in zip(problems, verdicts, strict=True) if v.state != State.CORRECT] == []


def test_theorems_are_split_and_shown():
    task = Theorems()
    drawn = {
        s: [p for level in task.levels() for p in task.draw(s, level, 99, np.random.default_rng(0))] for s in ("train", "test")
    }
    assert {p.id for p in drawn["train"]}.isdisjoint(p.id for p in drawn["test"])
    assert len(drawn["train"]) + len(drawn["test"]) == len(STATEMENTS) and len(drawn["test"]) >= 15
    assert task.prompt(drawn["train"][0]).startswith("Theorem it : ")


def test_a_prover_that_is_not_there_is_said():
    if not shutil.which("lean"):
        with pytest.raises(ValueError, match="needs the command lean"):
            Proof(prover="lean")
    with pytest.raises(ValueError, match="rocq or lean"):
        Proof(prover="agda")
