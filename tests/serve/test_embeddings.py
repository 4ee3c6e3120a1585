"""Embeddings through the official openai and ollama packages, of encoders and of a decoder."""

import array
import json
import math
import os
import pathlib

import ollama
import openai

from server import MODEL, ROOT, SLOWER, ServeTest, main

SHARED = pathlib.Path(os.environ.get("REALM_SHARED") or ROOT.parent / "shared")
GOLDEN = SHARED / "golden"
ENCODERS = ("bert-cls", "bert-mean", "modernbert")
DISTANCE_MAX = 0.015 if os.environ.get("REALM_TEST_BACKEND") else 1e-3  # a GPU's products round to bfloat16


def distance(actual, expected) -> float:
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(actual, expected)) / sum(b * b for b in expected))


def unit(vector):
    length = math.sqrt(sum(v * v for v in vector))
    return [v / length for v in vector]


class Decoder(ServeTest):
    """Any model that makes text gives its last token's state."""

    ARGS = ("--ctx", "512")

    def setUp(self):
        self.client = openai.OpenAI(base_url=self.server.base, api_key="none", timeout=120 * SLOWER, max_retries=0)

    def embed(self, text, **kwargs):
        return self.client.embeddings.create(model=MODEL, input=text, **kwargs)

    def test_base64_is_what_the_client_asks_for(self):
        answer = self.embed("Good morning")
        plain = self.embed("Good morning", encoding_format="float")
        self.assertEqual(answer.object, "list")
        self.assertEqual(answer.model, MODEL)
        self.assertEqual(answer.data[0].object, "embedding")
        self.assertLess(distance(answer.data[0].embedding, plain.data[0].embedding), 1e-6)
        self.assertAlmostEqual(sum(v * v for v in plain.data[0].embedding), 1, places=4)
        self.assertGreater(answer.usage.prompt_tokens, 1)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens)

    def test_lists_keep_their_order(self):
        texts = [f"text number {n} " + "and more " * (n % 7) for n in range(100)]
        together = self.embed(texts, encoding_format="float")
        self.assertEqual([entry.index for entry in together.data], list(range(100)))
        for n in (0, 1, 50, 99):
            alone = self.embed(texts[n], encoding_format="float")
            self.assertEqual(alone.data[0].embedding, together.data[n].embedding)

    def test_token_ids(self):
        text = "Good morning"
        ids = self.server.request("POST", "/tokenize", {"prompt": text}).json()["tokens"]
        by_text = self.embed(text, encoding_format="float").data[0].embedding
        self.assertEqual(self.embed(ids, encoding_format="float").data[0].embedding, by_text)
        both = self.embed([ids, ids], encoding_format="float")
        self.assertEqual([entry.embedding for entry in both.data], [by_text, by_text])
        self.assertEqual(both.usage.prompt_tokens, 2 * len(ids))

    def test_dimensions(self):
        whole = self.embed("Good morning", encoding_format="float").data[0].embedding
        short = self.embed("Good morning", encoding_format="float", dimensions=16).data[0].embedding
        self.assertEqual(len(short), 16)
        self.assertLess(distance(short, unit(whole[:16])), 1e-5)

    def test_longer_than_a_step_and_beside_streams(self):
        text = "word " * 400
        alone = self.embed(text, encoding_format="float").data[0].embedding
        stream = self.client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Tell me a story."}], stream=True, max_tokens=60,
            extra_body={"ignore_eos": True})
        next(iter(stream))
        self.assertEqual(self.embed(text, encoding_format="float").data[0].embedding, alone)
        self.assertGreater(sum(1 for _ in stream), 1)

    def test_refusals(self):
        for fields, param in (({"input": "x", "dimensions": 100000}, "dimensions"), ({"input": "x", "dimensions": 0}, "dimensions"),
                              ({"input": "x", "encoding_format": "int8"}, "encoding_format"), ({"input": []}, "input"),
                              ({"input": [1, "x"]}, "input"), ({"input": [[1], "x", 5]}, "input"), ({"input": 5}, "input"),
                              ({}, "input"), ({"input": [-1]}, "input"), ({"input": [10**9]}, "input"), ({"input": [[]]}, "input"),
                              ({"input": ["x"] * 2049}, "input"), ({"input": "x", "nonsense": 1}, "nonsense"),
                              ({"input": "word " * 600}, "input")):
            with self.subTest(str(fields)[:60]):
                reply = self.server.request("POST", "/v1/embeddings", {"model": MODEL, **fields})
                self.assertEqual(reply.status, 400, reply)
                self.assertEqual(reply.json()["error"]["param"], param)
        with self.assertRaises(openai.NotFoundError):
            self.client.embeddings.create(model="nobody", input="x")

    def test_ollama(self):
        client = ollama.Client(host=self.server.url, timeout=120 * SLOWER)
        expected = self.embed(["Good morning", "Good night"], encoding_format="float")
        answer = client.embed(model=MODEL, input=["Good morning", "Good night"])
        self.assertEqual([list(vector) for vector in answer.embeddings], [entry.embedding for entry in expected.data])
        self.assertEqual(answer.prompt_eval_count, expected.usage.prompt_tokens)
        self.assertEqual(list(client.embeddings(model=MODEL, prompt="Good night").embedding), expected.data[1].embedding)
        # Cut by default, refused where it is not to be.
        self.assertEqual(client.embed(model=MODEL, input="word " * 600).prompt_eval_count, 512)
        with self.assertRaises(ollama.ResponseError):
            client.embed(model=MODEL, input="word " * 600, truncate=False)


class Encoders(ServeTest):
    ARGS = ("--ctx", "512", *(f"{name}={GOLDEN / name / 'model.gguf'}" for name in ENCODERS))

    @classmethod
    def setUpClass(cls) -> None:
        if not GOLDEN.exists():
            raise cls.skipTest(cls, "no reference data")
        super().setUpClass()

    def setUp(self):
        self.client = openai.OpenAI(base_url=self.server.base, api_key="none", timeout=120 * SLOWER, max_retries=0)

    def test_vectors(self):
        for name in ENCODERS:
            with self.subTest(name):
                tokens = json.loads((GOLDEN / name / "golden.json").read_text())["tokens"]
                expected = unit(array.array("f", (GOLDEN / name / "pooled.f32").read_bytes()))
                # Beside others in the same step, of other lengths.
                answer = self.client.embeddings.create(model=name, input=[tokens[:9], tokens, tokens[:40]] * 20)
                for entry in answer.data[1::3]:
                    self.assertLess(distance(entry.embedding, expected), DISTANCE_MAX)
                self.assertEqual(answer.data[1].embedding, answer.data[58].embedding)

    def test_they_make_no_text(self):
        for path, body in (("/v1/completions", {"prompt": "x"}), ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]})):
            reply = self.server.request("POST", path, {"model": "bert-mean", **body})
            self.assertEqual(reply.status, 400, reply)
        shown = self.server.request("POST", "/api/show", {"model": "bert-mean"}).json()
        self.assertEqual(shown["capabilities"], ["embedding"])

    def test_positions_end(self):
        reply = self.server.request("POST", "/v1/embeddings", {"model": "bert-mean", "input": [5] * 129})
        self.assertEqual(reply.status, 400)
        self.assertEqual(reply.json()["error"]["code"], "context_length_exceeded")


if __name__ == "__main__":
    main()
