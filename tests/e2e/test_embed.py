"""`realm embed` against what transformers pooled, and against itself however it is called."""

import json
import math

from harness import BACKEND, EMBEDDED, BAD_MODEL, USAGE, RealmTest, main, read_floats, relative_error

ENCODERS = ("bert-cls", "bert-mean", "distilbert", "roberta", "modernbert", "eurobert")
DECODERS = ("llama3-rope", "qwen3", "gemma3")
RELATIVE_ERROR_MAX = 0.015 if BACKEND else 1e-3  # a GPU's products round to bfloat16


class Embed(RealmTest):
    def embed(self, *arguments) -> list:
        out = self.succeed("embed", *arguments).text
        return [json.loads(line) for line in out.splitlines()]

    def test_encoders(self):
        for name in ENCODERS:
            with self.subTest(name):
                folder = self.shared("golden", name)
                tokens = json.loads((folder / "golden.json").read_text())["tokens"]
                ids = ",".join(map(str, tokens))
                (vector,) = self.embed(folder / "model.gguf", "--tokens", ids, "--no-normalize")
                expected = read_floats(folder / "pooled.f32")
                self.assertEqual(len(vector), len(expected))
                self.assertLess(relative_error(vector, expected), RELATIVE_ERROR_MAX)
                # The first token's state is in the file whatever the pooling is.
                hidden = read_floats(folder / "hidden.f32")[: len(expected)]
                (first,) = self.embed(folder / "model.gguf", "--tokens", ids, "--no-normalize", "--pooling", "cls")
                self.assertLess(relative_error(first, hidden), RELATIVE_ERROR_MAX)

    def test_normalized_unless_told_otherwise(self):
        raw, unit = (self.embed(EMBEDDED, "Good morning", *more)[0] for more in (["--no-normalize"], []))
        length = math.sqrt(sum(v * v for v in raw))
        self.assertAlmostEqual(sum(v * v for v in unit), 1, places=5)
        self.assertLess(relative_error([v * length for v in unit], raw), 1e-5)

    def test_texts_lines_and_ids_agree(self):
        texts = ["Good morning", "A much longer text about the sea and its many ships."]
        by_argument = self.embed(EMBEDDED, *texts)
        self.assertEqual(len(by_argument), 2)
        self.assertNotEqual(by_argument[0], by_argument[1])
        lines = self.write("lines.txt", "\n".join(texts) + "\n")
        self.assertEqual(self.embed(EMBEDDED, "-f", lines), by_argument)
        self.assertEqual(self.embed(EMBEDDED, "--threads", "1", *texts), by_argument)
        ids = self.succeed("tokenize", EMBEDDED, texts[0]).text.split()
        self.assertEqual(self.embed(EMBEDDED, "--tokens", ",".join(ids)), by_argument[:1])

    def test_pooling_of_a_decoder(self):
        ids = [str(17 + i) for i in range(40)]
        vectors = {}
        for pooling in ("mean", "cls", "last"):
            (vectors[pooling],) = self.embed(EMBEDDED, "--tokens", ",".join(ids), "--pooling", pooling, "--no-normalize")
        (by_default,) = self.embed(EMBEDDED, "--tokens", ",".join(ids), "--no-normalize")
        self.assertEqual(by_default, vectors["last"])
        # Causal: the first token's state is that of the text that ends there.
        (alone,) = self.embed(EMBEDDED, "--tokens", ids[0], "--no-normalize")
        self.assertEqual(vectors["cls"], alone)
        each = [
            self.embed(EMBEDDED, "--tokens", ",".join(ids[: n + 1]), "--no-normalize")[0] for n in range(0, len(ids))
        ]
        mean = [sum(column) / len(ids) for column in zip(*each)]
        self.assertLess(relative_error(vectors["mean"], mean), 1e-5)

    def test_refusals(self):
        folder = self.shared("golden", "bert-mean")
        model = folder / "model.gguf"
        ids = ",".join(["5"] * 129)
        self.fail_with(USAGE, "embed", model, "--tokens", ids, says=["129", "128"])
        self.fail_with(USAGE, "embed", model, "--tokens", ids, "--ctx", "4096", says=["context"])
        self.fail_with(USAGE, "embed", model, "--tokens", "5,99999", says=["99999"])
        self.fail_with(USAGE, "embed", model, "--pooling", "max", "text", says=["max", "mean"])
        self.fail_with(BAD_MODEL, "run", model, "hello", "--raw", says=["bert", "embed"])
        self.fail_with(BAD_MODEL, "logits", model, "--tokens", "5", "-o", self.path("out.f32"), says=["bert", "embed"])
        self.assert_only()


if __name__ == "__main__":
    main()
