"""tokenizer.py DIRECTORY: trains a small byte-level BPE and writes it as transformers reads it.

The text it learns from is made here: nothing is downloaded, and every run makes the same one.
"""

import json
import random
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

_VOWELS = ("a", "e", "i", "o", "u", "an", "er", "is")
_SYLLABLES = [c + v for c in "bcdfghjklmnprstvwz" for v in _VOWELS]
_END = "<|end|>"


def _text(lines: int) -> list[str]:
    rng = random.Random(1)
    words = ["".join(rng.choices(_SYLLABLES, k=rng.randint(1, 3))) for _ in range(3000)]
    return [" ".join(rng.choices(words, k=40)) + "." for _ in range(lines)]


def main(directory: str) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        special_tokens=[_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_text(2000), trainer)
    out = Path(directory)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": _END,
        "pad_token": _END,
        "model_max_length": 131072,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(about))
    # Who asks for an architecture beside the tokenizer finds one; nobody has weights for it.
    (out / "config.json").write_text(json.dumps({"model_type": "gpt2", "vocab_size": 4000}))


main(*sys.argv[1:])
