"""Does a real model still answer: realm-tiny's question list, its quantized and converted forms, and
transformers' own greedy answers. Only in the optimised build: these are the long ones."""

import json
import unittest

from harness import EMBEDDED, SANITIZED, RealmTest, main


@unittest.skipIf(SANITIZED, "measured in the optimised build only")
class Quality(RealmTest):
    def evaluate(self, model, questions) -> dict:
        result = self.succeed("eval", model, questions, "--json", timeout=400).json()
        self.assertGreaterEqual(result["score"], 0)
        self.assertLessEqual(result["score"], 1)
        return result

    def questions(self):
        return self.shared("models", "realm-tiny", "eval", "questions.jsonl")

    def test_embedded_q8_0(self):
        result = self.evaluate(EMBEDDED, self.questions())
        self.assertEqual(len(result["answers"]), 100)
        self.assertGreaterEqual(result["score"], 0.88)

    def test_reference_q4_k_m(self):
        model = self.shared("models", "realm-tiny", "realm-tiny.Q4_K_M.gguf")
        self.assertGreaterEqual(self.evaluate(model, self.questions())["score"], 0.85)

    def test_own_q4_k_m(self):
        source = self.path("f32.gguf")
        self.succeed("convert", self.shared("models", "realm-tiny", "target"), source, "--type", "F32")
        out = self.path("q4_k_m.gguf")
        self.succeed("quantize", source, out, "Q4_K_M", timeout=400)
        self.assertLess(out.stat().st_size, source.stat().st_size / 5)
        self.assertGreaterEqual(self.evaluate(out, self.questions())["score"], 0.85)

    def test_converted_checkpoint_answers_as_transformers_does(self):
        model = self.path("f32.gguf")
        self.succeed("convert", self.shared("models", "realm-tiny", "target"), model, "--type", "F32")
        self.assert_only("f32.gguf")
        greedy = [json.loads(line) for line in
                  self.shared("models", "realm-tiny", "eval", "greedy.jsonl").read_text().splitlines()]
        lines = [json.dumps({"messages": case["messages"], "expect": case["answer"]}) for case in greedy]
        result = self.evaluate(model, self.write("greedy_questions.jsonl", "\n".join(lines) + "\n"))
        answers = [answer["answer"] for answer in result["answers"]]
        same = sum(ours.strip() == case["answer"].strip() for ours, case in zip(answers, greedy))
        self.assertEqual(len(answers), len(greedy))
        self.assertGreaterEqual(same / len(greedy), 0.97)


if __name__ == "__main__":
    main()
