/-
A small beginning of Lean, for tests: Lean itself comes as a shared library without its own library (`Init`), so this stands in its
place. It has just enough for propositions, tactics by name and axioms to be themselves; names and shapes are those that Lean's
compiler asks for.
-/
prelude
set_option autoImplicit true
universe u v w
unsafe axiom lcErased : Type
unsafe axiom lcProof {α : Prop} : α
unsafe axiom lcUnreachable {α : Sort u} : α
unsafe axiom lcAny : Type
unsafe axiom lcVoid : Type
set_option genCtorIdx false
set_option genSizeOf false
set_option genInjectivity false
set_option bootstrap.inductiveCheckResultingUniverse false in
inductive PUnit : Sort u where
  | unit : PUnit
inductive True : Prop where
  | intro : True
inductive False : Prop
def False.elim {C : Sort u} (h : False) : C := @False.rec (fun _ => C) h
inductive Eq {α : Sort u} : α → α → Prop where
  | refl (a : α) : Eq a a
abbrev Eq.ndrec.{u1, u2} {α : Sort u2} {a : α} {motive : α → Sort u1} (m : motive a) {b : α} (h : Eq a b) : motive b :=
  h.rec m
def id {α : Sort u} (a : α) : α := a
@[reducible] def outParam (α : Sort u) : Sort u := α
inductive HEq {α : Sort u} : α → {β : Sort u} → β → Prop where
  | refl (a : α) : HEq a a
def cast {α β : Sort u} (h : Eq α β) (a : α) : β := @Eq.ndrec (Sort u) α (fun β => β) a β h
theorem eq_of_heq {α : Sort u} {a b : α} (h : HEq a b) : Eq a b :=
  @HEq.rec α a (fun {β} b _ => (h : Eq α β) → Eq (cast h a) b) (fun _ => Eq.refl a) α b h (Eq.refl α)
theorem heq_of_eq {α : Sort u} {a b : α} (h : Eq a b) : HEq a b := @Eq.ndrec α a (fun b => HEq a b) (HEq.refl a) b h
structure PProd (α : Sort u) (β : Sort v) where
  fst : α
  snd : β
structure PULift.{r, s} (α : Sort s) : Sort (max s r 1) where
  up ::
  down : α
structure And (a b : Prop) : Prop where
  intro ::
  left : a
  right : b
inductive Or (a b : Prop) : Prop where
  | inl (h : a) : Or a b
  | inr (h : b) : Or a b
def Not (a : Prop) : Prop := a → False
structure Iff (a b : Prop) : Prop where
  intro ::
  mp : a → b
  mpr : b → a
inductive Nat where
  | zero : Nat
  | succ (n : Nat) : Nat

inductive Bool where
  | false : Bool
  | true : Bool
axiom sorryAx (α : Sort u) (synthetic : Bool) : α
axiom propext {a b : Prop} : Iff a b → Eq a b

abbrev Unit : Type := PUnit
class OfNat (α : Type u) (_ : Nat) where
  ofNat : α
@[default_instance 100] instance instOfNatNat (n : Nat) : OfNat Nat n := OfNat.mk n
inductive String where
  | mk : String
namespace Lean
inductive Name where
  | anonymous : Name
  | str (p : Name) (s : String) : Name
  | num (p : Name) (i : Nat) : Name
@[extern "lean_name_mk_string"] axiom Name.mkStr (p : Name) (s : String) : Name
inductive ParserDescr where
  | const (name : Name)
  | unary (name : Name) (p : ParserDescr)
  | binary (name : Name) (p₁ p₂ : ParserDescr)
  | node (kind : Name) (prec : Nat) (p : ParserDescr)
  | trailingNode (kind : Name) (prec lhsPrec : Nat) (p : ParserDescr)
  | symbol (val : String)
  | nonReservedSymbol (val : String) (includeIdent : Bool)
  | cat (catName : Name) (rbp : Nat)
  | parser (declName : Name)
  | nodeWithAntiquot (name : String) (kind : Name) (p : ParserDescr)
  | sepBy (p : ParserDescr) (sep : String) (psep : ParserDescr) (allowTrailingSep : Bool)
  | sepBy1 (p : ParserDescr) (sep : String) (psep : ParserDescr) (allowTrailingSep : Bool)
abbrev TrailingParserDescr := ParserDescr
end Lean
open Lean
def named (s : String) : Name := Name.mkStr Name.anonymous s
def tactic (name word : String) : ParserDescr :=
  ParserDescr.node (Name.mkStr (Name.mkStr (Name.mkStr (named "Lean") "Parser") "Tactic") name) 1022
    (ParserDescr.nonReservedSymbol word Bool.true)
def tacticOf (name word : String) (rest : ParserDescr) : ParserDescr :=
  ParserDescr.node (Name.mkStr (Name.mkStr (Name.mkStr (named "Lean") "Parser") "Tactic") name) 1022
    (ParserDescr.binary (named "andthen") (ParserDescr.nonReservedSymbol word Bool.true) rest)
@[tactic_parser] def Lean.Parser.Tactic.exact : ParserDescr := tacticOf "exact" "exact " (ParserDescr.cat (named "term") 0)
@[tactic_parser] def Lean.Parser.Tactic.apply : ParserDescr := tacticOf "apply" "apply " (ParserDescr.cat (named "term") 0)
@[tactic_parser] def Lean.Parser.Tactic.intro : ParserDescr :=
  tacticOf "intro" "intro" (ParserDescr.unary (named "many") (ParserDescr.cat (named "term") 1024))
@[tactic_parser] def Lean.Parser.Tactic.constructor : ParserDescr := tactic "constructor" "constructor"
@[tactic_parser] def Lean.Parser.Tactic.assumption : ParserDescr := tactic "assumption" "assumption"
@[tactic_parser] def Lean.Parser.Tactic.decide : ParserDescr := tactic "decide" "decide"
