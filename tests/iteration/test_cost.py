import numpy as np
import pytest

from iteration.cost import Size, Way, cheapest, matched, money

CONFIG = {"num_attention_heads": 4, "head_dim": 32, "hidden_size": 100, "num_hidden_layers": 3}


def test_operations_of_a_known_shape():
    size = Size.of(CONFIG, 1000)
    assert size == Size(1000, 3, 128)
    assert size.flops(10, 50) == 2 * 10 * (1000 + 2 * 3 * 128 * 50)
    assert size.training_flops(10, 50) == 3 * size.flops(10, 50)
    assert Size.of({"num_attention_heads": 4, "hidden_size": 64, "num_hidden_layers": 1}, 1).width == 64, "no head_dim given"


def test_few_questions_favour_search_and_many_favour_training():
    spent, each = np.array([0.0, 1000.0]), np.array([[1.0, 10.0], [1.0, 10.0]])
    accuracy = np.array([[0.2, 0.6], [0.6, 0.9]])
    assert cheapest(spent, each, accuracy, 0.5, 10) == Way(0, 1, 100.0), "a hundred in search against 1,010"
    assert cheapest(spent, each, accuracy, 0.5, 1000) == Way(1, 0, 2000.0), "10,000 in search against 2,000"
    assert cheapest(spent, each, accuracy, 0.95, 10) is None
    assert cheapest(spent, each, accuracy, 0.1, 1) == Way(0, 0, 1.0)


def test_the_same_operations_in_training_or_in_search():
    spent, each = np.array([0.0, 1000.0]), np.array([[1.0, 2.0, 4.0, 8.0], [1.0, 2.0, 4.0, 8.0]])
    assert matched(spent, each, 1, 1000) == 1, "2,000 in all: two answers each"
    assert matched(spent, each, 1, 100) == 3, "1,100 in all: more than eight answers each"
    assert matched(spent, each, 1, 1e9) == 0, "training is nothing beside so many questions"
    assert matched(spent, np.array([[5.0], [1.0]]), 1, 1e9) is None


def test_money():
    assert money(7200, 2.5) == pytest.approx(5.0)
