"""What a user brings: a model, problems, a verifier, a search. The examples of the README, run."""

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.integration.conftest import TOP, flywheel

GSM8K = TOP.parent / "shared" / "data" / "gsm8k"
README = (TOP / "README.md").read_text()


def readme_file(name: str) -> str:
    """The code block of the README that begins with a comment naming the file."""
    found = re.search(rf"```python\n# {re.escape(name)}\n(.*?)```", README, re.DOTALL)
    assert found, f"the README has no example {name}"
    return found[1]


def random_model(folder: Path) -> None:
    """A tiny random Llama with a byte-level tokenizer and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE({word: i for i, word in enumerate(["<pad>", "<end>", *alphabet])}, [], unk_token="<pad>"))
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>")
    tokenizer.chat_template = "{% for m in messages %}User: {{ m.content }}\nAnswer:{% endfor %}"
    config = LlamaConfig(
        vocab_size=words.get_vocab_size(),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        eos_token_id=1,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.mark.skipif(not GSM8K.is_dir(), reason="needs ../shared/data/gsm8k")
def test_own_model_problems_verifier_and_search(tmp_path):
    random_model(tmp_path / "model")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "__init__.py").touch()
    for name in ("shortest.py", "twice.py"):
        (mine / name).write_text(readme_file(f"mine/{name}"))
    options = [
        f"model.path={tmp_path / 'model'}",
        f"task.train={GSM8K / 'train.jsonl.gz'}",
        f"task.test={GSM8K / 'test.jsonl.gz'}",
        f"run.dir={tmp_path / 'run'}",
        "verify={name: mine.shortest, longest: 20}",
        "search={name: mine.twice, n: 2}",
        "rounds=1",
        "problems=12",
        "unit=6",
        "generate={max_tokens: 24, context: 1024, temperature: 1.0, max_seqs: 64, cache_mb: 64}",
        "train={tokens: 3000, threads: 1, rows: 2, row_tokens: 1024, micro_rows: 1, lr: 1e-4}",
        "measure={problems: 4, samples: 2}",
        "placement={generators: 1, dashboard: false}",
    ]
    said = flywheel("run", str(TOP / "configs" / "gsm8k.yaml"), *options, cwd=tmp_path)
    record = json.loads((tmp_path / "run/rounds/r00001.json").read_text())
    assert record["logprob_drift"] < 1e-3, said
    nodes = pq.ParquetFile(tmp_path / "run/traces/r00001/train/u00000.parquet").read().to_pylist()
    for tree in range(6):
        right = [row["state"] == "correct" for row in nodes if row["tree"] == tree and row["parent"] == 0]
        assert len(right) == (2 if any(right[:2]) else 4), "the search asks again only where nothing was right"
    from transformers import AutoTokenizer

    shown = AutoTokenizer.from_pretrained(tmp_path / "model").decode(nodes[0]["token_ids"])
    assert shown == nodes[0]["text"], "the chat template is applied"
    assert {row["state"] for row in nodes if row["parent"] == 0} <= {"correct", "wrong", "unparseable"}
    if record["counts"]["kept"]:
        assert record["trained"] == "m00001" and (tmp_path / "run/models/m00001/tokenizer.json").exists()
    else:
        assert record["trained"] == "" and "nothing to train on" in record["reason"]


def test_a_model_that_is_not_there_is_one_line(tmp_path):
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"prompt": f"{i}+1", "answer": str(i + 1)}) + "\n" for i in range(40)))
    options = [f"run.dir={tmp_path / 'run'}", f"task.train={tmp_path / 'p.jsonl'}", "task.test="]
    options += ["task.prompt_key=prompt", "task.answer_key=answer", "placement.dashboard=false", "model.path=nowhere"]
    said = flywheel("run", "configs/gsm8k.yaml", *options, status=2)
    assert "flywheel: model.path nowhere: no Hugging Face model with safetensors there" in said
    assert "cluster/verbs/" not in said, "no traceback of ours; Ray may print one of its own while it ends"
