"""Small theorems in Rocq: propositional logic and arithmetic of natural numbers. A step is a line with one tactic.

Every fourth one is held out. Level 1 takes a tactic or two, level 4 an induction with rewriting.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from iteration.parts import has_prompt
from iteration.types import Problem

STATEMENTS = (
    (1, "forall P : Prop, P -> P"),
    (1, "forall P Q : Prop, P -> Q -> P"),
    (1, "forall P Q : Prop, P /\\ Q -> P"),
    (1, "forall P Q : Prop, P /\\ Q -> Q"),
    (1, "forall P Q : Prop, P -> P \\/ Q"),
    (1, "forall P Q : Prop, Q -> P \\/ Q"),
    (1, "forall P : Prop, False -> P"),
    (1, "forall P Q : Prop, P -> (P -> Q) -> Q"),
    (1, "True"),
    (1, "forall n : nat, n = n"),
    (1, "2 + 2 = 4"),
    (1, "forall n : nat, 0 + n = n"),
    (1, "forall n : nat, n <= n"),
    (1, "1 <> 2"),
    (1, "exists n : nat, n + 3 = 5"),
    (1, "forall n : nat, 0 <= n"),
    (2, "forall P Q : Prop, P /\\ Q -> Q /\\ P"),
    (2, "forall P Q : Prop, P \\/ Q -> Q \\/ P"),
    (2, "forall P Q R : Prop, (P -> Q) -> (Q -> R) -> P -> R"),
    (2, "forall P : Prop, P -> ~ ~ P"),
    (2, "forall P Q : Prop, (P -> Q) -> ~ Q -> ~ P"),
    (2, "forall P Q : Prop, P -> Q -> P /\\ Q"),
    (2, "forall P Q R : Prop, (P -> Q -> R) -> P /\\ Q -> R"),
    (2, "forall P Q R : Prop, (P /\\ Q -> R) -> P -> Q -> R"),
    (2, "forall P : Prop, ~ (P /\\ ~ P)"),
    (2, "forall P Q : Prop, ~ P -> P -> Q"),
    (2, "forall P Q : Prop, (P <-> Q) -> P -> Q"),
    (2, "forall n m : nat, n = m -> m = n"),
    (2, "forall a b c : nat, a = b -> b = c -> a = c"),
    (2, "forall n : nat, n < S n"),
    (2, "forall n m : nat, S n = S m -> n = m"),
    (2, "forall n : nat, S n <> 0"),
    (2, "exists n : nat, n * n = 49"),
    (2, "forall n m : nat, n < m -> n <= m"),
    (2, "forall n : nat, n <> S n"),
    (2, "forall n m : nat, n = m -> n + 2 = m + 2"),
    (3, "forall P Q R : Prop, P /\\ (Q /\\ R) -> (P /\\ Q) /\\ R"),
    (3, "forall P Q R : Prop, P \\/ (Q \\/ R) -> (P \\/ Q) \\/ R"),
    (3, "forall P Q R : Prop, P /\\ (Q \\/ R) -> (P /\\ Q) \\/ (P /\\ R)"),
    (3, "forall P Q R : Prop, P \\/ (Q /\\ R) -> (P \\/ Q) /\\ (P \\/ R)"),
    (3, "forall P Q : Prop, ~ (P \\/ Q) -> ~ P /\\ ~ Q"),
    (3, "forall P Q : Prop, ~ P /\\ ~ Q -> ~ (P \\/ Q)"),
    (3, "forall P Q : Prop, ~ P \\/ ~ Q -> ~ (P /\\ Q)"),
    (3, "forall P : Prop, ~ ~ ~ P -> ~ P"),
    (3, "forall P : Prop, ~ ~ (P \\/ ~ P)"),
    (3, "forall P Q R : Prop, (P -> R) -> (Q -> R) -> P \\/ Q -> R"),
    (3, "forall P Q R : Prop, (P \\/ Q -> R) -> (P -> R) /\\ (Q -> R)"),
    (3, "forall (A : Type) (P : A -> Prop) (x : A), (forall y, P y) -> P x"),
    (3, "forall (A : Type) (P : A -> Prop) (x : A), P x -> exists y, P y"),
    (3, "forall (A : Type) (P : A -> Prop), ~ (exists x, P x) -> forall x, ~ P x"),
    (3, "forall n m : nat, n + m = m + n"),
    (3, "forall a b c : nat, a + (b + c) = (a + b) + c"),
    (3, "forall a b c : nat, a < b -> b < c -> a < c"),
    (3, "forall a b c : nat, a <= b -> a + c <= b + c"),
    (3, "forall n m : nat, n <= m \\/ m < n"),
    (3, "forall n : nat, n + 0 = n"),
    (4, "forall n m : nat, n * m = m * n"),
    (4, "forall a b c : nat, a * (b + c) = a * b + a * c"),
    (4, "forall a b c : nat, a * (b * c) = (a * b) * c"),
    (4, "forall a b : nat, (a + b) * (a + b) = a * a + 2 * a * b + b * b"),
    (4, "forall n : nat, exists m, n = 2 * m \\/ n = 2 * m + 1"),
    (4, "forall n : nat, n * n >= n"),
    (4, "forall n : nat, exists k, n * (n + 1) = 2 * k"),
    (4, "forall (A : Type) (l : list A), l ++ nil = l"),
    (4, "forall (A : Type) (a b c : list A), a ++ (b ++ c) = (a ++ b) ++ c"),
    (4, "forall (A : Type) (a b : list A), length (a ++ b) = length a + length b"),
    (4, "forall (A : Type) (l : list A), length (rev l) = length l"),
    (4, "forall (A B : Type) (f : A -> B) (l : list A), length (map f l) = length l"),
    (4, "forall b : bool, negb (negb b) = b"),
    (4, "forall a b : bool, negb (andb a b) = orb (negb a) (negb b)"),
    (4, "forall n : nat, 2 ^ (n + 1) = 2 * 2 ^ n"),
    (4, "forall P Q : Prop, ((P -> Q) -> P) -> ~ ~ P"),
)
HELD_OUT = 4  # every fourth statement


@dataclass
class Theorems:
    template: str = "Theorem it : {prompt}.\nProof.\n"  # what the model is shown

    def __post_init__(self) -> None:
        has_prompt(self)

    def levels(self) -> Sequence[int]:
        return sorted({level for level, _ in STATEMENTS})

    def splits(self) -> tuple[str, ...]:
        return "train", "test"

    def draw(self, split: str, level: int, n: int, rng: np.random.Generator) -> list[Problem]:
        problems = [
            problem_of(each, text)
            for i, (each, text) in enumerate(STATEMENTS)
            if each == level and (i % HELD_OUT == 0) == (split == "test")
        ]
        return [problems[i] for i in rng.permutation(len(problems))[:n]]

    def prompt(self, problem: Problem) -> str:
        return self.template.replace("{prompt}", problem.prompt)


def problem_of(level: int, statement: str) -> Problem:
    mark = hashlib.blake2b(statement.encode(), digest_size=6).hexdigest()
    return Problem(f"thm{level}-{mark}", statement, statement, level)
