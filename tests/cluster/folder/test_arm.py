import json

import pytest

from cluster.folder.arm import Arm
from iteration.parts import JUDGE, SEARCH, Part
from tests.cluster.folder.folders import BEAM, SOURCE, TEST, TRAIN

LED = Arm("b", "beam", "test", "test", Part(SEARCH, "beam", {"keep": 2}), Part(JUDGE, "process", {}), 9, True, 3, "m1")


@pytest.mark.parametrize("arm", [TRAIN, TEST, BEAM, SOURCE, LED], ids=lambda arm: arm.name)
def test_an_arm_is_read_as_it_was_written(arm):
    assert Arm.read(json.loads(json.dumps(arm.record()))) == arm


@pytest.mark.parametrize("arm", [TRAIN, TEST, BEAM, SOURCE], ids=lambda arm: arm.name)
def test_a_record_that_does_not_say_yet_whether_the_budget_counts_is_read(arm):
    assert Arm.read({key: value for key, value in arm.record().items() if key != "budgeted"}) == arm


def test_held_out_problems_are_planned_once_and_training_problems_by_round():
    assert TEST.plan_key(3) == "plans/r00000/test" and TRAIN.plan_key(3) == "plans/r00003/train"
