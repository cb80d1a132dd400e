"""One step of learn=grpo against a plain implementation: each answer alone, nothing packed, formulas as in the papers."""

from types import SimpleNamespace

import numpy as np
import pytest

from cluster.folder.book import Book
from cluster.folder.store import Store
from cluster.searcher import table
from cluster.train.examples import load_examples
from cluster.train.fit import fit, micro_batches
from cluster.train.options import Optimise
from cluster.train.ranks import ALONE
from iteration import losses
from iteration.examples import answers, paths
from iteration.learn.grpo import Grpo
from iteration.packing import batches
from iteration.types import Expand, Problem, State, Step, Tree, Verdict
from tests.cluster.train.packed import model
from tests.worlds import unit

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
REWARDS = [[1, 0, 0, 1, 0], [1, 1, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0.5, 1, 0.25, 0]]
T = 0.7


def alone(policy, prompt, tokens):
    """logprobs of an answer's tokens at temperature T, float32 [t]."""
    ids = torch.tensor([*prompt.tolist(), *tokens.tolist()])
    scores = (policy(input_ids=ids[None]).logits[0, len(prompt) - 1 : -1].float() / T).log_softmax(-1)
    return scores.gather(1, ids[len(prompt) :, None])[:, 0]


@pytest.fixture(scope="module")
def sampled():
    """(a unit's nodes, the model that learns): the answers' logprobs are those of another model, so ratios differ from 1."""
    rng, policy = np.random.default_rng(0), model("plain", "sdpa")
    before = model("plain", "sdpa")
    with torch.no_grad():
        for parameter in before.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    trees = []
    for number, rewards in enumerate(REWARDS):
        prompt = rng.integers(2, 30, 4).astype(np.int32)
        tree = Tree.root(Problem(f"p{number}", "q", "x"), Step(prompt, np.zeros(4, np.float32), "q", False), 0)
        steps = []
        for length in rng.integers(2, 9, len(rewards)):
            tokens = rng.integers(2, 30, length).astype(np.int32)
            with torch.no_grad():
                steps.append(Step(tokens, alone(before, prompt, tokens).numpy(), "x", True))
        for node, reward in zip(tree.grow([Expand(0, len(steps), True)], [steps]), rewards, strict=True):
            node.verdict = Verdict(State.CORRECT if reward == 1 else State.WRONG, "x", reward)
        trees.append(tree)
    return table(unit(*(tree.problem for tree in trees)), trees), policy


def plain(policy, nodes, low, high, token_level):
    """(the loss, {parameter: gradient}, how tokens are cut) of one step on all groups, written as in the papers."""
    rows, cut = nodes.to_pylist(), {"below": 0, "above": 0, "kept below": 0, "kept above": 0}
    objective, count = torch.zeros(()), 0
    for group in range(len(REWARDS)):
        route = [i for i, row in enumerate(rows) if row["tree"] == group]
        prompt, ends = rows[route[0]], [rows[i] for i in route[1:]]
        rewards = torch.tensor([end["reward"] for end in ends])
        if rewards.std() == 0:
            continue
        for end, advantage in zip(ends, (rewards - rewards.mean()) / rewards.std(correction=0), strict=True):
            tokens = np.array(end["token_ids"])
            ratios = torch.exp(alone(policy, np.array(prompt["token_ids"]), tokens) - torch.tensor(end["logprobs"]))
            terms = []
            for ratio in ratios:
                over, under = ratio.item() > 1 + high, ratio.item() < 1 - low
                bound = 1 + high if advantage > 0 else 1 - low
                terms.append((bound if (over if advantage > 0 else under) else ratio) * advantage)
                cut["above"] += over and advantage > 0
                cut["kept below"] += under and advantage > 0
                cut["below"] += under and advantage < 0
                cut["kept above"] += over and advantage < 0
            objective = objective + (sum(terms) if token_level else sum(terms) / len(terms))
            count += len(terms) if token_level else 1
    loss = -objective / count
    policy.zero_grad()
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in policy.named_parameters()}, cut


@pytest.mark.parametrize("part", [Grpo(sampled_at=T), Grpo(sampled_at=T, token_level=True, clip=0.15, clip_high=0.28)], ids=str)
@pytest.mark.parametrize("rows", [1, 3])
def test_a_packed_step_is_that_of_the_formulas(sampled, part, rows):
    nodes, policy = sampled
    items = part.items(answers(nodes), lambda: nodes)
    assert len(items) == 3 * 5, "nothing of the groups of equal rewards"
    data = part.examples(nodes, [(name, "") for name in items["id"].to_pylist()])
    (batch,) = batches(data, np.arange(len(data)), 100, 40, np.random.default_rng(0))
    assert len(batch.token_ids) < len(data), "several in a row"
    loss, wanted, cut = plain(policy, nodes, part.clip, part.clip_high, part.token_level)
    assert all(cut.values()), f"ratios on every side of both bounds: {cut}"
    policy.zero_grad()
    found = 0.0
    for micro in micro_batches(batch, rows, ALONE, policy):
        each = part.objective(policy)(policy, micro) / part.total(batch)
        each.backward()
        found += each.item()
    assert found == pytest.approx(loss, rel=1e-4)
    for name, parameter in policy.named_parameters():
        assert torch.allclose(parameter.grad, wanted[name], atol=1e-4 * wanted[name].abs().max().item()), name


def test_the_trainer_reads_rewards_and_logprobs_from_the_run_folder(sampled, tmp_path):
    nodes, part = sampled[0], Grpo()
    items = [(name, "") for name in part.items(answers(nodes), lambda: nodes)["id"].to_pylist()]
    store = Store(tmp_path).open()
    store.put_table("traces/r00001/train/u00000", nodes)
    data, _ = load_examples(Book(store), items, part)
    wanted = part.examples(nodes, items)
    assert np.array_equal(data.labels, wanted.labels) and np.array_equal(data.weights, wanted.weights)
    assert (data.labels[data.weights != 0] < 0).all()


@pytest.mark.parametrize(
    ("advantage", "ratio", "loss", "slope"),
    [
        pytest.param(1, 1.5, -1.25, 0, id="better, and likely enough by now"),
        pytest.param(1, 0.5, -0.5, -0.5, id="better, and less likely than it was"),
        pytest.param(-1, 0.5, 0.8, 0, id="worse, and unlikely enough by now"),
        pytest.param(-1, 1.5, 1.5, 1.5, id="worse, and likelier than it was"),
        pytest.param(2, 1.0, -2.0, -2.0, id="as it was sampled"),
    ],
)
def test_clipping(monkeypatch, advantage, ratio, loss, slope):
    ours = torch.tensor([np.log(ratio) - 3.0], requires_grad=True)
    monkeypatch.setattr(losses, "logprobs", lambda model, batch, temperature: ours)
    batch = SimpleNamespace(weights=torch.tensor([float(advantage)]), labels=torch.tensor([-3.0]))
    found = Grpo(clip=0.2, clip_high=0.25).objective(None)(None, batch)
    found.backward()
    assert found.item() == pytest.approx(loss) and ours.grad.item() == pytest.approx(slope, abs=1e-6)


def test_right_answers_become_likelier_and_wrong_ones_less(sampled):
    nodes, part = sampled[0], Grpo(sampled_at=T)
    items = part.items(answers(nodes), lambda: nodes)["id"].to_pylist()
    data = part.examples(nodes, [(name, "") for name in items])
    policy, plan = model("plain", "sdpa"), list(batches(data, np.arange(len(data)), 100, 40, np.random.default_rng(0)))
    before = by_answer(policy, nodes, items)
    told = list(fit(policy, plan * 10, Optimise(rows=100, lr=3e-4, schedule="constant"), part))
    gain, better = by_answer(policy, nodes, items) - before, np.array([data.weights[end - 1] > 0 for end in data.offsets[1:]])
    assert gain[better].mean() > 0 > gain[~better].mean() and told[-1] < told[0]


def by_answer(policy, nodes, items):
    rows = {name: i for i, name in enumerate(nodes["id"].to_pylist())}
    tokens = nodes["token_ids"].to_pylist()
    with torch.no_grad():
        routes = paths(nodes, np.array([rows[name] for name in items]))
        return np.array([alone(policy, np.array(tokens[a]), np.array(tokens[b])).sum().item() for a, b in routes])


@pytest.mark.parametrize("token_level", [False, True])
def test_a_small_world_is_learnt_from_its_rewards_alone(token_level):
    """An answer is one token, and the even ones are right. The policy is sampled, graded and trained, round by round."""
    rng, policy, part = np.random.default_rng(0), model("plain", "sdpa"), Grpo(token_level=token_level)
    prompts, rates = rng.integers(2, 30, (8, 3)).astype(np.int32), []
    for _ in range(10):
        with torch.no_grad():
            chances = policy(input_ids=torch.from_numpy(prompts.astype(np.int64))).logits[:, -1].double().softmax(-1).numpy()
        trees = []
        for number, (prompt, chance) in enumerate(zip(prompts, chances, strict=True)):
            tree = Tree.root(Problem(f"p{number}", "q", "x"), Step(prompt, np.zeros(3, np.float32), "q", False), 0)
            tokens = rng.choice(30, 16, p=chance)
            steps = [Step(np.array([t], np.int32), np.log(chance[[t]]).astype(np.float32), "x", True) for t in tokens]
            for node, token in zip(tree.grow([Expand(0, 16, True)], [steps]), tokens.tolist(), strict=True):
                node.verdict = Verdict(State.WRONG if token % 2 else State.CORRECT, "x", 1.0 - token % 2)
            trees.append(tree)
        nodes = table(unit(*(tree.problem for tree in trees)), trees)
        rates.append(float(chances[:, ::2].sum(1).mean()))
        items = part.items(answers(nodes), lambda nodes=nodes: nodes)["id"].to_pylist()
        data = part.examples(nodes, [(name, "") for name in items])
        plan = list(batches(data, rng.permutation(len(data)), 4, 40, rng))
        list(fit(policy, plan, Optimise(rows=4, lr=2e-3, schedule="constant"), part))
    assert rates[0] < 0.7 and rates[-1] > 0.95, rates
