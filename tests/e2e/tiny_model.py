"""A llama of a few thousand random weights with a byte-level vocabulary: small enough to be made anew for
each test, whole enough that every command takes it. Tests spoil it one thing at a time."""

import array
import random
from typing import Dict

from gguf_file import ARRAY, BOOL, F32, FLOAT32, GgufFile, INT32, STRING, Tensor, UINT32

EMBED, FEED, HEADS, KV_HEADS, LAYERS, CONTEXT = 64, 96, 4, 2, 2, 128
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = ("{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
            "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


def byte_characters() -> Dict[int, str]:
    """How byte-level vocabularies write each byte: printable ones as themselves, the rest from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(0x100 + len(table) - len(printable))
    return table


def make(seed: int = 1, embed: int = EMBED, feed: int = FEED) -> GgufFile:
    draw = random.Random(seed)
    head_dim = embed // HEADS

    def weights(*dims: int, around: float = 0.0, spread: float = 0.2) -> Tensor:
        count = 1
        for dim in dims:
            count *= dim
        values = array.array("f", (draw.gauss(around, spread) for _ in range(count)))
        return Tensor(list(dims), F32, values.tobytes())

    tokens = SPECIAL + [byte_characters()[byte] for byte in range(256)] + ["he", "Ġt"]
    metadata = {
        "general.architecture": (STRING, "llama"),
        "general.name": (STRING, "tiny"),
        "llama.block_count": (UINT32, LAYERS),
        "llama.context_length": (UINT32, CONTEXT),
        "llama.embedding_length": (UINT32, embed),
        "llama.feed_forward_length": (UINT32, feed),
        "llama.attention.head_count": (UINT32, HEADS),
        "llama.attention.head_count_kv": (UINT32, KV_HEADS),
        "llama.attention.key_length": (UINT32, head_dim),
        "llama.attention.value_length": (UINT32, head_dim),
        "llama.rope.dimension_count": (UINT32, head_dim),
        "llama.rope.freq_base": (FLOAT32, 10000.0),
        "llama.attention.layer_norm_rms_epsilon": (FLOAT32, 1e-5),
        "llama.vocab_size": (UINT32, len(tokens)),
        "tokenizer.ggml.model": (STRING, "gpt2"),
        "tokenizer.ggml.pre": (STRING, "gpt-2"),
        "tokenizer.ggml.tokens": ((ARRAY, STRING), tokens),
        "tokenizer.ggml.token_type": ((ARRAY, INT32), [3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL))),
        "tokenizer.ggml.merges": ((ARRAY, STRING), ["h e", "Ġ t"]),
        "tokenizer.ggml.bos_token_id": (UINT32, 0),
        "tokenizer.ggml.eos_token_id": (UINT32, 2),
        "tokenizer.ggml.add_bos_token": (BOOL, False),
        "tokenizer.chat_template": (STRING, TEMPLATE),
    }
    tensors = {"token_embd.weight": weights(embed, len(tokens)),
               "output_norm.weight": weights(embed, around=1.0)}
    for layer in range(LAYERS):
        prefix = f"blk.{layer}."
        tensors.update({
            prefix + "attn_norm.weight": weights(embed, around=1.0),
            prefix + "attn_q.weight": weights(embed, HEADS * head_dim),
            prefix + "attn_k.weight": weights(embed, KV_HEADS * head_dim),
            prefix + "attn_v.weight": weights(embed, KV_HEADS * head_dim),
            prefix + "attn_output.weight": weights(HEADS * head_dim, embed),
            prefix + "ffn_norm.weight": weights(embed, around=1.0),
            prefix + "ffn_gate.weight": weights(embed, feed),
            prefix + "ffn_up.weight": weights(embed, feed),
            prefix + "ffn_down.weight": weights(feed, embed),
        })
    return GgufFile(metadata, tensors)


VOCAB = len(make().metadata["tokenizer.ggml.tokens"][1])
