"""A small transformer from nothing: Qwen3-shaped, with one token per word, saved as a Hugging Face folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iteration.parts import at_least


@dataclass
class Shape:
    """About 0.45M parameters with a vocabulary of 26."""

    hidden_size: int = 128
    layers: int = 3
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    intermediate_size: int = 256
    context: int = 256  # longest sequence in tokens

    def __post_init__(self) -> None:
        at_least(self, hidden_size=1, layers=1, heads=1, kv_heads=1, head_dim=1, intermediate_size=1, context=1)


def config(shape: Shape, words: int) -> Any:
    """Its transformers config, for a vocabulary of so many words."""
    from transformers import Qwen3Config

    return Qwen3Config(
        vocab_size=words,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )


def words(vocabulary: Sequence[str]) -> Any:
    """A tokenizer with a token per word. The first two words are padding and end of text."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pad, end = vocabulary[:2]
    known = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=pad))
    known.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Split("\n", "isolated")]
    )
    return PreTrainedTokenizerFast(tokenizer_object=known, pad_token=pad, eos_token=end)


def build(folder: Path, vocabulary: Sequence[str], shape: Shape, seed: int) -> None:
    """Save an untrained model and its word tokenizer (`words`) to `folder`."""
    import torch
    from transformers import Qwen3ForCausalLM

    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(config(shape, len(vocabulary)))
    model.save_pretrained(folder)
    words(vocabulary).save_pretrained(folder)
