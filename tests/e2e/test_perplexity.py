"""`realm perplexity` against the definition, computed here from `realm logits`."""

import json
import math
import re

import tiny_model
from harness import EMBEDDED, RealmTest, main, read_floats, rows

CONTEXT = 64


class Perplexity(RealmTest):
    def expected(self, model, ids, vocab: int) -> float:
        """Windows of CONTEXT tokens; each token of a window's second half but the first is predicted from what
        stands before it in the window."""
        loss, count = 0.0, 0
        for start in range(0, len(ids) - CONTEXT + 1, CONTEXT):
            window = ids[start:start + CONTEXT]
            self.succeed("logits", model, "--tokens", ",".join(map(str, window)), "-o", self.path("l.f32"))
            logits = rows(read_floats(self.path("l.f32")), vocab)
            for position in range(CONTEXT // 2, CONTEXT - 1):
                row = logits[position]
                top = max(row)
                loss += top + math.log(sum(math.exp(value - top) for value in row)) - row[window[position + 1]]
                count += 1
        return math.exp(loss / count)

    def measure(self, model, text) -> float:
        result = self.succeed("perplexity", model, "-f", text, "--ctx", str(CONTEXT), "--json").json()
        return result["perplexity"]

    def check(self, model, text, vocab: int):
        ids = [int(word) for word in self.succeed("tokenize", model, "-f", text).text.split()]
        self.assertGreaterEqual(len(ids), 2 * CONTEXT)
        measured = self.measure(model, text)
        self.assertAlmostEqual(measured / self.expected(model, ids, vocab), 1.0, delta=1e-4)
        shown = self.succeed("perplexity", model, "-f", text, "--ctx", str(CONTEXT)).text
        self.assertTrue(any(abs(float(number) / measured - 1) < 1e-2 for number in re.findall(r"\d+\.\d+", shown)), shown)

    def test_tiny(self):
        model = self.write("model.gguf", tiny_model.make().bytes())
        self.check(model, self.write("text.txt", "the fox and the hen " * 12), tiny_model.VOCAB)

    def test_embedded(self):
        text = "Once upon a time there was a little fox who lived in the wood with his mother and his brothers. " * 8
        self.check(EMBEDDED, self.write("text.txt", text), 8192)

    def test_realm_tiny_knows_its_dialogues(self):
        dialogues = self.shared("models", "realm-tiny", "eval", "dialogues.txt").read_text()[:6000]
        result = self.succeed("perplexity", EMBEDDED, "-f", self.write("d.txt", dialogues), "--ctx", "512",
                              "--special", "--json").json()
        self.assertLess(result["perplexity"], 6)
        self.assertIsInstance(json.dumps(result), str)


if __name__ == "__main__":
    main()
