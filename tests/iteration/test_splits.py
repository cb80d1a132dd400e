"""Every task that ships: the splits that it says it has share no problem, by id and by prompt."""

import importlib.util
import json

import numpy as np
import pytest

from iteration.parts import TASK, Part

ROWS = 60  # of each file


def rows(split: str) -> list[dict]:
    """Problems in the columns of every task that reads files."""
    return [
        {
            "prompt": f"{split} {i}?",
            "question": f"{split} {i}?",
            "problem": f"{split} {i}?",
            "Question": f"{split} {i}?",
            "text": f"{split} {i}?",
            "answer": f"#### {i}",
            "solution": f"so \\boxed{{{i}}}",
            "Correct Answer": f"{i}",
            **{f"Incorrect Answer {n}": f"{i + n}" for n in (1, 2, 3)},
            "test": f"def check(candidate): assert candidate({i}) == {i}",
            "entry_point": "f",
            "task_id": f"{split}/{i}",
            "code": f"def f(x): return x + {i}",
            "test_list": [f"assert f(0) == {i}"],
            "test_setup_code": "",
            "test_imports": [],
            "input_output": json.dumps({"inputs": [f"{i}\\n"], "outputs": [f"{i}\\n"]}),
            "starter_code": "",
            "level": "Level 1",
        }
        for i in range(ROWS)
    ]


def options(name: str, folder, *splits: str) -> dict:
    """What makes a task: files with one problem a row, of these splits; nothing for a task without files."""
    if name == "gym":
        return {"task": "chain_sum"}
    if "train" not in TASK.part_class(name).__dataclass_fields__:
        return {}
    for split in splits:
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(split)))
    return {split: str(folder / f"{split}.jsonl") for split in splits}


@pytest.mark.parametrize("files", [("train",), ("train", "test"), ("train", "validation", "test")], ids=", ".join)
@pytest.mark.parametrize("name", TASK.shipped())
def test_splits_share_no_problem(name, files, tmp_path):
    if name == "gym" and importlib.util.find_spec("reasoning_gym") is None:
        pytest.skip("reasoning-gym is not installed; type: ./launch.sh setup gym")
    task = Part(TASK, name, options(name, tmp_path, *files)).make()
    splits = task.splits()
    assert {"train", "test"} <= set(splits) <= {"train", "validation", "test"}
    if set(files) == {"train", "validation", "test"} and options(name, tmp_path, *files).get("validation"):
        assert "validation" in splits
    ids, prompts = {}, {}
    for split in splits:
        rng = np.random.default_rng(0)
        problems = [problem for level in task.levels() for problem in task.draw(split, level, ROWS, rng)]
        assert problems, f"{split} is empty"
        ids[split] = {problem.id.partition("/")[0] for problem in problems}
        prompts[split] = {problem.prompt for problem in problems}
    for i, one in enumerate(splits):
        for other in splits[i + 1 :]:
            assert not ids[one] & ids[other] and not prompts[one] & prompts[other], f"{one} and {other} share problems"
