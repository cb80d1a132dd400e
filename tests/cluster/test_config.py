"""What `auto` becomes on how many GPUs, and what a resumed run may be told otherwise."""

import pytest
from omegaconf import OmegaConf

from cluster.comparison import CompareConfig
from cluster.config import Config, check_unchanged, load
from cluster.engine import shares
from cluster.folder.store import Store
from iteration.errors import UserError


def decided(file: str, gpus: int, *options: str) -> tuple:
    """(GPUs of an engine, of a rank, engines, dtype, drift)."""
    schema = CompareConfig if file == "compare" else Config
    config = load(f"configs/{file}.yaml", list(options), schema, lambda: gpus)
    return config.generate.gpus, config.train.gpus, config.placement.generators, config.generate.dtype, config.drift


@pytest.mark.parametrize(
    ("file", "gpus", "expected"),
    [
        pytest.param("quickstart", 0, (0, 0, 1, "float32", 1e-3), id="on CPU"),
        pytest.param("quickstart", 1, (0.5, 0.5, 1, "float32", 1e-3), id="the tiny model stays float32"),
        pytest.param("gym", 0, (0, 0, 2, "float32", 1e-3), id="a real model on CPU: two engines"),
        pytest.param("gym", 1, (0.5, 0.5, 1, "bfloat16", 0.3), id="of one GPU a half each"),
        pytest.param("gym", 2, (1, 1, 1, "bfloat16", 0.3), id="a GPU each"),
        pytest.param("gym", 8, (1, 1, 2, "bfloat16", 0.3), id="no more engines than asked for"),
        pytest.param("gpus", 8, (1, 1, 4, "bfloat16", 0.3), id="typed"),
        pytest.param("compare", 1, (0.25, 0.5, 1, "float32", 1e-3), id="policy and value model share the engines' half"),
        pytest.param("compare", 2, (0.5, 1, 1, "float32", 1e-3), id="or their GPU"),
    ],
)
def test_what_auto_becomes(file, gpus, expected):
    assert decided(file, gpus) == expected


def test_what_is_typed_is_kept():
    typed = "generate.gpus=1", "train.gpus=0", "generate.dtype=float16", "drift=0.01"
    assert decided("gym", 4, *typed) == (1, 0, 2, "float16", 0.01)
    assert decided("gym", 1, "drift=0.01")[-1] == 0.01 and decided("quickstart", 1, "generate.dtype=bfloat16")[-1] == 0.3
    with pytest.raises(UserError, match="generate.gpus is 1, but train.gpus auto; type both, or none of them"):
        decided("gym", 2, "generate.gpus=1")
    with pytest.raises(UserError, match="generate.gpus is half; expected auto, a share of a GPU or a whole number"):
        decided("gym", 0, "generate.gpus=half")
    with pytest.raises(UserError, match="drift is some; expected auto or at least 0 nats"):
        decided("gym", 0, "drift=some")


def test_learning_from_ratios_knows_the_temperature_of_sampling():
    grpo = lambda *options: load("configs/quickstart.yaml", ["learn=grpo", *options]).learn.sampled_at  # noqa: E731
    assert grpo() == 1.0 and grpo("generate.temperature=0.7", "learn.sampled_at=0.7") == 0.7
    message = "learn.sampled_at is 1, but answers are sampled at 0.56; type learn.sampled_at=0.56"
    with pytest.raises(UserError, match=message):
        grpo("generate.temperature=0.7", "search=beam", "search.temperature=0.8")


@pytest.mark.parametrize("gpus", range(1, 9))
@pytest.mark.parametrize("engines", range(1, 6))
def test_shares_fit_on_the_gpus(gpus, engines):
    """Whole actors, each on one GPU: no GPU holds more than it has."""
    engine, trainer = shares(gpus, engines, 1)
    free = [1.0] * gpus
    for wanted in sorted([trainer, *[engine] * engines], reverse=True):
        at = next(i for i, room in enumerate(free) if room >= wanted)
        free[at] -= wanted
    assert (engine == 1) == (engines < gpus), "each has its own where there are enough"


def test_a_run_may_move_to_other_gpus(tmp_path):
    store = Store(tmp_path / "run").open()
    here = lambda gpus, *options: load("configs/gym.yaml", [f"run.dir={store.root}", *options], gpus=lambda: gpus)  # noqa: E731
    check_unchanged(store, here(1))
    recorded = OmegaConf.load(store.local("config.yaml"))
    assert (recorded.generate.gpus, recorded.train.gpus, recorded.generate.dtype, recorded.drift) == (0.5, 0.5, "bfloat16", 0.3)
    resumed = load(str(store.local("config.yaml")), [], gpus=lambda: 8)
    assert (resumed.generate, resumed.train.gpus) == (recorded.generate, 0.5), "resumed from its folder it keeps them"
    check_unchanged(store, here(0))
    check_unchanged(store, here(4, "failed_share=1"))
    with pytest.raises(UserError, match="seed is 0 in this run, but 1 was asked for"):
        check_unchanged(store, here(1, "seed=1"))
