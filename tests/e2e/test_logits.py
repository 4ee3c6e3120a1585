"""`realm logits` against Hugging Face transformers' own, and against itself however the work is cut."""

import array
import json
import math

import gguf_file
import tiny_model
from harness import EMBEDDED, RealmTest, argmax, main, read_floats, relative_error, rows

GOLDEN = ("llama-spm", "llama3-rope", "qwen2", "qwen3", "mixtral", "qwen3moe", "gemma2", "gemma3", "phi3", "gpt-oss",
          "deepseek2", "deepseek3")
# One of each kind of attention and feed-forward; golden_test goes through all of them.
SAME_BITS = ("llama-spm", "gemma2", "gpt-oss", "deepseek2")
RELATIVE_ERROR_MAX = 1e-3


class Golden(RealmTest):
    def check(self, name: str):
        folder = self.shared("golden", name)
        golden = json.loads((folder / "golden.json").read_text())
        expected = read_floats(folder / "logits.f32")
        tokens = self.write("tokens.json", json.dumps(golden["tokens"]))
        out = self.path("logits.f32")
        self.succeed("logits", folder / "model.gguf", "--tokens-file", tokens, "--kv-type", "f32", "-o", out)
        actual = read_floats(out)
        self.assertEqual(len(actual), golden["n_tokens"] * golden["vocab"])
        self.assertLess(relative_error(actual, expected), RELATIVE_ERROR_MAX)
        for position, (ours, theirs) in enumerate(zip(rows(actual, golden["vocab"]), rows(expected, golden["vocab"]))):
            self.assertEqual(argmax(ours), argmax(theirs), f"argmax at position {position}")

    def test_every_family(self):
        for name in GOLDEN:
            with self.subTest(name):
                self.check(name)


class SameBits(RealmTest):
    """Chunking and threads decide how the work is done, never what comes out."""

    def logits(self, model, tokens, *options: str) -> bytes:
        out = self.path("logits.f32")
        self.succeed("logits", model, "--tokens", ",".join(map(str, tokens)), "-o", out, *options)
        return out.read_bytes()

    def check(self, model, tokens, vocab: int, kv_types=("f32", "f16", "bf16", "q8_0", "fp8")):
        for kv_type in kv_types:
            whole = self.logits(model, tokens, "--threads", "1", "--kv-type", kv_type)
            self.assertEqual(len(whole), len(tokens) * vocab * 4)
            self.assertTrue(all(map(math.isfinite, read_floats(self.path("logits.f32")))))
            for chunk in ("1", "7", str(len(tokens))):
                for threads in ("1", "2"):
                    with self.subTest(kv_type=kv_type, chunk=chunk, threads=threads):
                        cut = self.logits(model, tokens, "--threads", threads, "--chunk", chunk, "--kv-type", kv_type)
                        self.assertTrue(cut == whole, "the bytes differ")

    def test_tiny_f32(self):
        model = self.write("model.gguf", tiny_model.make().bytes())
        # Its heads of 16 hold no block of Q8_0.
        self.check(model, [(i * 37) % tiny_model.VOCAB for i in range(40)], tiny_model.VOCAB,
                   ("f32", "f16", "bf16", "fp8"))

    def test_embedded_q8_0(self):
        self.check(EMBEDDED, [1, 361, 208, 627, 1391, 414, 460, 423, 299, 657, 94, 96, 3783, 40, 2, 208, 1, 366, 208],
                   8192)

    def test_golden_f16(self):
        for name in SAME_BITS:
            with self.subTest(name):
                folder = self.shared("golden", name)
                golden = json.loads((folder / "golden.json").read_text())
                # This small model's compressed rows of 64 + 16 hold no whole blocks of Q8_0 (real ones' 576 do).
                kv_types = ("f32", "f16", "bf16", "fp8") + (() if name == "deepseek2" else ("q8_0",))
                self.check(folder / "model.gguf", golden["tokens"], golden["vocab"], kv_types)

    def test_q4_k_m(self):
        self.check(self.shared("models", "realm-tiny", "realm-tiny.Q4_K_M.gguf"), list(range(100, 140)), 8192)


class OldLayout(RealmTest):
    def test_deepseek_with_one_expansion(self):
        """Files of before 2025 hold attn_kv_b, the expanded head's sizes, and as many key heads as heads."""
        folder = self.shared("golden", "deepseek2")
        model = gguf_file.parse((folder / "model.gguf").read_bytes())
        heads, nope, rotated, v_dim = 4, 32, 16, 32
        for key, value in (("key_length", nope + rotated), ("value_length", v_dim), ("head_count_kv", heads)):
            model.metadata["deepseek2.attention." + key] = (gguf_file.UINT32, value)
        del model.metadata["deepseek2.attention.key_length_mla"], model.metadata["deepseek2.attention.value_length_mla"]
        for name in [name for name in model.tensors if name.endswith("attn_k_b.weight")]:
            keys = model.tensors.pop(name)
            values = model.tensors.pop(name.replace("_k_b", "_v_b"))
            rank = keys.dims[1]
            k, v, both = array.array("H", keys.data), array.array("H", values.data), array.array("H")
            for head in range(heads):
                of_head = k[head * rank * nope:(head + 1) * rank * nope]
                for row in range(nope):
                    both.extend(of_head[row::nope])
                both.extend(v[head * v_dim * rank:(head + 1) * v_dim * rank])
            tensor = gguf_file.Tensor([rank, heads * (nope + v_dim)], keys.dtype, both.tobytes())
            model.tensors[name.replace("_k_b", "_kv_b")] = tensor
        old = self.write("old.gguf", model.bytes())
        tokens = ",".join(map(str, json.loads((folder / "golden.json").read_text())["tokens"]))
        outputs = []
        for number, path in enumerate((old, folder / "model.gguf")):
            out = self.path(f"logits{number}.f32")
            self.succeed("logits", path, "--tokens", tokens, "--kv-type", "f32", "-o", out)
            outputs.append(out.read_bytes())
        self.assertTrue(outputs[0] == outputs[1], "the bytes differ")


class Checkpoint(RealmTest):
    def test_a_hugging_face_folder_is_a_model_too(self):
        """MODEL may be a checkpoint folder; its logits are those of the golden file too."""
        for name in ("llama3-rope", "gpt-oss", "deepseek3"):
            with self.subTest(name):
                folder = self.shared("golden", name)
                golden = json.loads((folder / "golden.json").read_text())
                tokens, out = ",".join(map(str, golden["tokens"])), self.path("logits.f32")
                self.succeed("logits", folder, "--tokens", tokens, "--kv-type", "f32", "-o", out)
                self.assertLess(relative_error(read_floats(out), read_floats(folder / "logits.f32")),
                                RELATIVE_ERROR_MAX)


if __name__ == "__main__":
    main()
