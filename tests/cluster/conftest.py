"""What tests of several rooms share."""

import pytest
from transformers import Qwen3Config

SHAPES = {  # of well-known models of these sizes
    "1.7": {"hidden_size": 2048, "num_hidden_layers": 28, "num_attention_heads": 16, "intermediate_size": 6144},
    "8": {"hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32, "intermediate_size": 12288},
}


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """{size in billions: a folder with the config of a model of that size, and no weights}"""

    def folder(size):
        where = tmp_path_factory.mktemp("shape") / size
        common = {"vocab_size": 151936, "num_key_value_heads": 8, "head_dim": 128, "dtype": "bfloat16"}
        Qwen3Config(**common, **SHAPES[size], tie_word_embeddings=size == "1.7").save_pretrained(where)
        return str(where)

    return {size: folder(size) for size in SHAPES}
