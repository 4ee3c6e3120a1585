#!/usr/bin/env python3
"""The whole program on a machine with a GPU, as a user meets it: what `realm doctor` says of the card, every golden
model's logits on the card (and split between card and processor) against the processor's, a server whose KV pages have
to leave the card, and what is refused for lack of memory. Run by tools/gpu_check.sh; REALM_BIN and REALM_SHARED as in
tests/e2e/harness.py.
"""

import array
import concurrent.futures
import json
import pathlib
import re
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent.parent / part) for part in ("e2e", "serve")]

from harness import FAILED, SHARED, RealmTest, main, read_floats, relative_error
from server import Server


class Card(RealmTest):
    def test_doctor_knows_it(self):
        report = self.succeed("doctor", "--json").json()
        card = report["gpu_details"]
        print("doctor:", report["gpu"])
        self.assertTrue(report["gpus_used"])
        self.assertRegex(card["compute_capability"], r"^\d+\.\d$")
        self.assertRegex(card["driver"], r"^\d+\.\d+.* for CUDA \d+\.\d$")
        self.assertGreater(card["memory_read_gb_s"], 500)
        self.assertGreater(card["bf16_tflops"], 100)
        self.assertLessEqual(card["memory_free_bytes"], card["memory_bytes"])


class Golden(RealmTest):
    def logits(self, model, tokens, name: str, *options: str):
        out = self.path(name)
        self.succeed("logits", model, "--tokens-file", tokens, "--kv-type", "f32", "-o", out, *options)
        return read_floats(out)

    def test_every_family_on_the_card(self):
        folders = sorted(path.parent for path in self.shared("golden").glob("*/golden.json"))
        worst = {}
        for folder in folders:
            golden = json.loads((folder / "golden.json").read_text())
            if "tokens" not in golden:
                continue
            tokens = self.write("tokens.json", json.dumps(golden["tokens"]))
            model = folder / "model.gguf"
            try:
                expected = self.logits(model, tokens, "cpu.f32", "--backend", "cpu")
            except AssertionError:
                continue  # a family that the program does not have
            # Products round to bfloat16; where a router chooses, that can turn a choice.
            most = 0.05 if "moe" in folder.name or folder.name in ("minimax-m2", "gpt-oss") else 0.015
            for how in ((), ("--gpu-layers", "1")):
                with self.subTest(folder.name, how=how):
                    actual = self.logits(model, tokens, "cuda.f32", "--backend", "cuda", *how)
                    error = relative_error(actual, expected)
                    worst[" ".join(how) or "whole"] = max(worst.get(" ".join(how) or "whole", 0), error)
                    self.assertLess(error, most)
        print(f"goldens: {len(folders)} folders, largest relative errors {worst}")
        self.assertEqual(len(worst), 2)


class LongContext(RealmTest):
    """Models of real head sizes far past the tiles of attention, where the goldens' few positions end."""

    TOKENS, ROWS = 700, 16

    def last_logits(self, model, *options: str):
        out = self.path("logits.f32")
        tokens = self.write("tokens.json", json.dumps([(i * 7919 + 13) % 30000 for i in range(self.TOKENS)]))
        self.succeed("logits", model, "--tokens-file", tokens, "-o", out, *options)
        row = out.stat().st_size // self.TOKENS
        with open(out, "rb") as file:
            file.seek(-self.ROWS * row, 2)
            values = array.array("f", file.read())
        out.unlink()
        return values

    def typical_error(self, actual, expected) -> float:
        """Of the middle row: where experts are chosen a rounding can turn one row's choice."""
        size = len(expected) // self.ROWS
        rows = [slice(i * size, (i + 1) * size) for i in range(self.ROWS)]
        return sorted(relative_error(actual[row], expected[row]) for row in rows)[self.ROWS // 2]

    def test_against_the_processor(self):
        # Heads of 128 and 64, two and four for a KV head; of a type whose products the processor does in full
        # precision, where it rounds others' inputs to 8 bits.
        for preset, layers, most in (("qwen3-0.6b", "3", 0.02), ("llama-1b", "2", 0.02), ("qwen3-30b-a3b", "1", 0.03)):
            model = self.path(f"{preset}.gguf")
            self.succeed("synth", model, "--preset", preset, "--layers", layers, "--type", "BF16")
            for kv_type in ("f16", "q8_0"):
                expected = self.last_logits(model, "--backend", "cpu", "--kv-type", kv_type)
                for how in ((), ("--chunk", "96"), ("--batch-invariant",)):
                    with self.subTest(preset, kv_type=kv_type, how=how):
                        actual = self.last_logits(model, "--backend", "cuda", "--kv-type", kv_type, *how)
                        error = self.typical_error(actual, expected)
                        print(f"{preset} {kv_type} {' '.join(how)}: {error:.4f}")
                        self.assertLess(error, most)
            model.unlink()


def value_of(metrics: str, name: str) -> float:
    """The sum of a metric's series."""
    found = re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? ([-+.e\d]+)$", metrics, re.MULTILINE)
    return sum(map(float, found)) if found else float("nan")


class Serving(RealmTest):
    def test_gauges(self):
        with Server("--backend", "cuda") as server:
            text = server.request("GET", "/metrics").body.decode()
            self.assertGreater(value_of(text, "realm_gpu_memory_total_bytes"), 1e9)
            self.assertGreater(value_of(text, "realm_gpu_memory_used_bytes"), 1e8)
            busy = value_of(text, "realm_gpu_utilization_ratio")
            self.assertTrue(0 <= busy <= 1, busy)
            self.assertEqual(value_of(text, "realm_model_healthy"), 1)

    def answers(self, model, *options: str):
        """Greedy answers to 8 long prompts asked six times each, and the metrics after them."""
        with Server(str(model), "--backend", "cuda", "--batch-invariant", "--ctx", "1024", "--parallel", "16",
                    *options) as server:
            def ask(i: int) -> str:
                words = " ".join(f"{(i % 8) * 37 + k}" for k in range(180))
                body = {"prompt": f"Numbers of list {i % 8}: {words}. In short", "max_tokens": 24, "temperature": 0,
                        "ignore_eos": True}
                reply = server.request("POST", "/v1/completions", body)
                self.assertEqual(reply.status, 200, reply)
                return reply.json()["choices"][0]["text"]

            with concurrent.futures.ThreadPoolExecutor(16) as pool:
                texts = list(pool.map(ask, range(48)))
            return texts, server.request("GET", "/metrics").body.decode()

    def test_pages_leave_the_card_and_come_back(self):
        # Of real width: realm-tiny's pages are computed again faster than they are brought back.
        model = self.path("wide.gguf")
        self.succeed("synth", model, "--preset", "llama-8b", "--layers", "8", "--type", "Q4_K_M")
        expected, _ = self.answers(model)
        texts, metrics = self.answers(model, "--cache-tokens", "2048", "--swap-gb", "1")
        self.assertEqual(texts, expected)
        swapped = value_of(metrics, "realm_kv_pages_swapped_total")
        print(f"swapped {swapped:.0f} pages, {value_of(metrics, 'vllm:num_preemptions_total'):.0f} preemptions")
        self.assertGreater(swapped, 0)
        plain, metrics = self.answers(model, "--cache-tokens", "2048", "--swap-gb", "0")
        self.assertEqual(plain, expected)
        self.assertEqual(value_of(metrics, "realm_kv_pages_swapped_total"), 0)

    def test_a_split_model_is_served(self):
        with Server("--backend", "cuda", "--gpu-layers", "3", "--ctx", "1024") as server:
            body = {"prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}
            reply = server.request("POST", "/v1/completions", body)
            self.assertEqual(reply.status, 200, reply)
            self.assertIn("Paris", reply.json()["choices"][0]["text"])

    def test_what_does_not_fit_is_refused_at_the_start(self):
        self.fail_with(FAILED, "serve", "--backend", "cuda", "--port", "0", "--cache-tokens", "268435456",
                       says=["fit"])


if __name__ == "__main__":
    main()
