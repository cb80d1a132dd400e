import sys

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import ReadonlyConfigError

from cluster import comparison, evaluation
from cluster.config import Config, load
from iteration.config import differences, part, typed
from iteration.errors import UserError
from iteration.parts import FILTER, SEARCH

GOOD = """
name: small
task: {name: expressions, last_level: 6}
search: {name: sample, n: 3}
verify: {name: replay}
filters: {correct: , cap: {per_problem: 2}}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(GOOD)
    return path


def test_defaults_file_and_command_line_in_this_order(config):
    found = load(config, ["search.n=5", "train.lr=1e-4", "filters.cap.per_problem=3", "seed=4"])
    assert (found.search.n, found.train.lr, found.task.last_level, found.rounds) == (5, 1e-4, 6, 5)
    assert found.run.dir == "runs/small" and list(found.filters) == ["correct", "cap"]
    assert part(found.search, SEARCH).make().n == 5
    assert part(found.filters.cap, FILTER, "cap").make().per_problem == 3
    assert typed(found, Config).train.betas == (0.9, 0.98)


def test_nothing_behind_the_sign_is_the_empty_text(config):
    assert load(config, ["model.path="]).model.path == ""


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("run.dir=runs/try #2", "runs/try #2"),
        ("run.dir=#2", "#2"),
        ("run.dir=~/runs", "~/runs"),
        ("run.dir=~", "~"),
        ("run.dir=null", "null"),
        ("run.dir=a: b, c=[d", "a: b, c=[d"),
        ("run.dir=${name}-2", "small-2"),
        ("name=007", "007"),
        ("name=1e3", "1e3"),
        (r"generate.step_end=\n\n", "\n\n"),
        (r"generate.step_end=\\n", r"\n"),
        ("generate.step_end= ", " "),
        ("generate.step_end=</step>", "</step>"),
        ("train.betas=[0.9, 0.95]", (0.9, 0.95)),
        ("measure.levels=[1, 2]", [1, 2]),
        ("train.bf16=false", False),
        ("judge=null", None),
        ("filters=null", {}),
        ("filters={cap: null}", {"correct": {}}),
    ],
)
def test_a_word_does_what_is_typed(config, word, value):
    assert OmegaConf.select(load(config, [word]), word.partition("=")[0]) == value


@pytest.mark.parametrize("template", ["[INST] {prompt} [/INST]", "{prompt}", "# {prompt}", "'{prompt}'", r"{prompt} \boxed{}"])
def test_a_template_is_taken_as_typed(template):
    found = load("configs/gsm8k.yaml", [f"task.template={template}", "task.train=a.jsonl", r"verify=math"])
    assert found.task.template == template
    assert load("configs/gsm8k.yaml", [r"task.template={prompt}\nAnswer:"]).task.template == "{prompt}\nAnswer:"


@pytest.mark.parametrize(
    "word", ["*.jsonl", "007", "1e5", "null", "[a].jsonl", "a: b.jsonl", "@a", "x #1.jsonl", "[a.jsonl, b.jsonl]"]
)
def test_a_file_is_taken_as_typed_or_as_a_list(word):
    told = ["a.jsonl", "b.jsonl"] if word == "[a.jsonl, b.jsonl]" else word
    assert load("configs/gsm8k.yaml", [f"task.train={word}"]).task.train == told


def test_another_part_than_the_file_s_does_not_get_the_file_s_options(config):
    found = load(config, ["search.name=beam", "search.keep=9"])
    assert (found.search.name, found.search.keep, found.search.width) == ("beam", 9, 4) and "n" not in found.search
    assert load(config, ["search.name=sample"]).search.n == 3


def test_a_part_with_a_default_may_be_left_out(config):
    found = load(config, [])
    assert found.judge is None and found.learn.name == "sft"
    assert load(config, ["judge.name=process", "learn={name: dpo, beta: 0.3}", "train.row_tokens=256"]).learn.beta == 0.3


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("compare.arms.beam.search.keeep=1", "compare.arms.beam.search: unknown key 'keeep'; did you mean 'keep'?"),
        ("compare.arms.beam.serch.keep=1", "unknown key 'compare.arms.beam.serch'; did you mean 'search'?"),
        ("compare.arms.new.judge.name=oracle", "compare.arms.new.search: found None, expected a section with a name"),
        ("compare.arms.beam.search.name=bean", "there is no 'bean'; did you mean 'beam'?"),
        ("compare.arms.beam.search.keep=few", "compare.arms.beam.search: keep: Value 'few'"),
        ("compare.arms.beam=3", "compare.arms.beam is 3, expected a section"),
        ("compare.budget=[1]", "unknown key 'compare.budget'; did you mean 'budgets'?"),
        ("judge=null", "judge is missing; a comparison needs one"),
        ("compare.arms.beam.search.keep=0", "configs/compare.yaml: compare.arms.beam.search: keep is 0; expected at least 1"),
        ("compare.budgets=[300,0]", "configs/compare.yaml: compare.budgets is [300, 0]; expected at least 1"),
        ("compare.arms.beam.budgets=[-1]", "configs/compare.yaml: compare.arms.beam.budgets is [-1]; expected at least 1"),
    ],
)
def test_mistakes_in_a_comparison(option, said):
    with pytest.raises(UserError) as error:
        comparison.read("configs/compare.yaml", [option])
    assert said in str(error.value) and "\n" not in str(error.value)


def test_budgets_of_an_evaluation_are_positive():
    with pytest.raises(UserError, match="coverage.yaml: eval.budgets is \\[0\\]; expected at least 1"):
        evaluation.read("configs/coverage.yaml", ["eval.budgets=[0]"])


def test_read_only_after_merging(config):
    with pytest.raises(ReadonlyConfigError):
        load(config, []).search.n = 9


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("train.lrr=1", "command line: unknown key 'train.lrr'; did you mean 'lr'?"),
        ("searc.n=1", "command line: unknown key 'searc'; did you mean 'search'?"),
        ("search.m=1", "command line: unknown key 'search.m'"),
        ("filters.cap.per_problme=1", "unknown key 'filters.cap.per_problme'; did you mean 'per_problem'?"),
        ("model.warm_start.token=1", "unknown key 'model.warm_start.token'; did you mean 'tokens'?"),
        ("train.lr=fast", "command line: train.lr: Value 'fast' of type 'str' could not be converted to Float"),
        ("rounds=many", "command line: rounds: Value 'many' of type 'str' could not be converted to Integer"),
        ("search.n=[1,2]", "command line: search.n"),
        ("search.name=bean", "search.name: there is no 'bean'"),
        ("search.name=sampel", "did you mean 'sample'? (known: adaptive"),
        ("filters.corect.x=1", "there is no 'corect'; did you mean 'correct'?"),
        ("rounds", "command line: found 'rounds', expected KEY=VALUE"),
        ("train=3", "command line: train is 3, expected a section"),
        ("task=3", "command line: task is 3, expected a section"),
        ("search=bean", "search.name: there is no 'bean'"),
        ("sandbox=none", "sandbox.name is 'none'; expected bubblewrap or rlimits"),
        ("filters=[cap]", "filters is ['cap'], expected a section"),
        ("filters.cap=4", "filters.cap is 4, expected a section; type filters.cap.KEY=VALUE"),
        ("measure.levels=3", "command line: measure.levels: Invalid value"),
        ("measure.levels=[1,2", "command line: measure.levels: found '[1,2', which is not YAML ("),
        ("rounds=#2", "command line: rounds: Value '#2' of type 'str' could not be converted to Integer"),
        ("rounds=3 # or more", "command line: rounds: Value '3 # or more'"),
        ("model.path=${nam}", "model.path: Interpolation key 'nam' not found"),
        ("search.n=${nam}", "search.n: Interpolation key 'nam' not found"),
        ("model.path=${", "command line: model.path: "),
        ("train.lr.x=1", "command line: train.lr"),
        ("=3", "command line: found '=3', expected KEY=VALUE"),
        ("run.dir=???", "command line: run.dir: found ???, expected a value"),
        (r"run.dir=\${name}", "small.yaml: run.dir: found '${name}', but text with ${ in it is taken from another option"),
        ("train.betas=[0.9]", "command line: train.betas: found [0.9], expected a value like (0.9, 0.98)"),
        ("train.betas=[a, b]", "command line: train.betas: found ['a', 'b'], expected a value like"),
        ("measure.levels={a: 1}", "command line: measure.levels: "),
        ("measure.levels=[[1]]", "measure.levels is [[1]]; expected at least 0"),
        ("measure.levels=[]", "measure.levels is []; expected at least 0"),
        ("measure.split=foo", "measure.split is 'foo'; expected test or validation"),
        ("train=[]", "command line: train"),
        ("search.name=3", "search.name: there is no '3'"),
        ("search.name=../x", "search.name: there is no '../x'"),
        ("judge=true", "judge.name: there is no 'True'"),
        ("learn=null", "learn is null; expected a way to learn, e.g. learn=sft"),
        ("name=a/b", "small.yaml: name is 'a/b'; expected a name for a folder, without /"),
        ("run.dir=", "run.dir is empty; expected a folder"),
        ("drift=nan", "drift is nan; expected auto or at least 0"),
        ("train.lr=inf", "train.lr is inf; expected more than 0"),
        ("generate.dtype=foo", "generate.dtype is 'foo'; expected auto or float32"),
        ("lag=-1", "lag is -1; expected at least 0"),
        ("train.pool=some", "train.pool is 'some'; expected all or last"),
        ("train.start=anew", "train.start is 'anew'; expected previous or base"),
        ("retry=2", "retry is 2.0; expected a share between 0 and 1"),
        ("generate.temperature=2.5", "generate.temperature times search.temperature is 2.5; expected 0 to 2, vLLM's limits"),
        ("learn.name=dpo", "learn.name=dpo puts two traces into one row, each of up to generate.context = 128"),
        ("judge.name=proces", "judge.name: there is no 'proces'; did you mean 'process'?"),
        ("judge.label=x", "judge.name is missing"),
        ("generate.transfer=rdma", "generate.transfer is 'rdma'; expected host or nccl or ipc"),
        ("generate.transfer=nccl", "sends weights from a GPU to a GPU, but train.gpus is 0 and generate.gpus 0"),
        ("generate.pipeline=2", "generate.pipeline is 2, but gpus is 0; expected a multiple of pipeline"),
        ("generate.sleep=true", "needs lag=0 and a share of it for each, generate.gpus=0.5 train.gpus=0.5"),
        ("generate.context=4096", "train.row_tokens is 128, but a trace may have generate.context = 4096 tokens"),
    ],
)
def test_mistakes_on_the_command_line(config, option, said):
    with pytest.raises(UserError) as error:
        load(config, [option])
    assert said in str(error.value) and "\n" not in str(error.value)


def test_weights_between_gpus_are_not_sent_on_one_that_is_shared(config):
    with pytest.raises(UserError, match="nccl is between GPUs; on one that both share, type generate.transfer=ipc"):
        load(config, ["generate.transfer=nccl", "generate.gpus=0.5", "train.gpus=0.5"])


@pytest.mark.parametrize(
    "word",
    [
        *("rounds=-1", "problems=0", "unit=0", "budget=0", "drift=-1", "retry=-0.1", "audit_share=2"),
        *("search.n=0", "search.n=-1", "train.micro_rows=0", "train.rows=0", "train.tokens=0", "train.lr=0", "train.clip=0"),
        *("train.betas=[1,2]", "generate.max_tokens=0", "generate.max_seqs=0", "measure.problems=0", "measure.samples=0"),
        *("filters.cap.per_problem=0", "model.warm_start.tokens=0", "model.shape.layers=0", "placement.searchers=-1"),
    ],
)
def test_zero_and_negative_values_are_refused_with_the_key_and_the_file(config, word):
    with pytest.raises(UserError) as error:
        load(config, [word])
    key, _, value = word.partition("=")
    assert f"small.yaml: {key} is " in str(error.value) and "; expected" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("part", "word"),
    [
        *(("search=beam", f"search.{name}=0") for name in ("keep", "width", "times")),
        *(("search=dvts", f"search.{name}=0") for name in ("trees", "width", "times")),
        *(("search=lookahead", f"search.{name}=0") for name in ("keep", "width", "times")),
        *(("search=continued", word) for word in ("search.n=0", "search.starts=0", "search.anew=2")),
        *(("search=mcts", f"search.{name}") for name in ("simulations=0", "width=0", "widen=-1", "alpha=0", "noise=2")),
        *(("search=adaptive", f"search.{name}=0") for name in ("tokens", "first", "tree.keep")),
        *(("learn=dpo", f"learn.{name}") for name in ("beta=0", "per_tree=0", "anchor=-1")),
        ("judge=process", "judge.labels=step"),
        ("filters.balance={}", "filters.balance.bins=0"),
        ("filters.balance={}", "filters.balance.share=0"),
        ("filters.hindsight={}", "filters.hindsight.steps=0"),
    ],
)
def test_parts_refuse_options_when_a_config_is_loaded(config, part, word):
    with pytest.raises(UserError, match=f"small.yaml: {word.partition('=')[0]} is "):
        load(config, [part, word, "train.row_tokens=256"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\n", "task.name is missing"),
        (GOOD.replace("name: small", "rounds: 3"), "name is missing"),
        (GOOD + "trian: {lr: 1}\n", "unknown key 'trian'; did you mean 'train'?"),
        (GOOD + "train: {lr: x}\n", "train.lr: Value 'x' of type 'str' could not be converted to Float"),
        ("name: [\n", "line 2: not YAML"),
        ("- 1\n", "expected keys and values"),
    ],
)
def test_mistakes_in_the_file_name_the_file(tmp_path, text, said):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        load(path, [])
    assert said in str(error.value) and "bad.yaml" in str(error.value)


def test_no_such_file():
    with pytest.raises(UserError, match=r"nowhere\.yaml: No such file"):
        load("nowhere.yaml", [])


def test_a_dotted_name_reaches_a_package_of_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").touch()
    (tmp_path / "mine" / "two_step.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass TwoStep:\n    width: int = 2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert SEARCH.part_class("mine.two_step")().width == 2
    with pytest.raises(UserError, match=r"there is no 'mine\.three'"):
        SEARCH.part_class("mine.three")
    sys.modules.pop("mine.two_step"), sys.modules.pop("mine")


def test_differences_name_both_values():
    old, new = OmegaConf.create({"a": {"b": 1, "c": [1]}, "d": 2}), OmegaConf.create({"a": {"b": 3, "c": [1]}, "e": None})
    assert differences(old, new) == [("a.b", 1, 3), ("d", 2, "nothing"), ("e", "nothing", None)]


def test_every_shipped_config_loads():
    from pathlib import Path

    for path in sorted((Path(__file__).parents[2] / "configs").glob("*.yaml")):
        sections = path.read_text()
        reader = comparison.read if "\ncompare:" in sections else evaluation.read if "\neval:" in sections else load
        assert reader(path, []).name == path.stem
        assert len(path.read_text().splitlines()) < 40


def test_a_plain_word_names_a_part(tmp_path):
    config = load("configs/quickstart.yaml", ["search=beam", "search.keep=3", "sandbox=rlimits"])
    assert (config.search.name, config.search.keep, config.sandbox.name) == ("beam", 3, "rlimits")
    file = tmp_path / "short.yaml"
    file.write_text("name: short\ntask: expressions\nsearch: beam\nverify: replay\n")
    assert load(str(file), ["search.keep=3"]).search.keep == 3
