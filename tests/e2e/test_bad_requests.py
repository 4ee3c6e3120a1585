"""Good models asked for what cannot be done: an orderly refusal, never a crash or a silent cut."""

import json

import tiny_model
from harness import FAILED, USAGE, RealmTest, main, realm

REFUSED = (FAILED, USAGE)


class BadRequests(RealmTest):
    def setUp(self):
        super().setUp()
        self.model = self.write("model.gguf", tiny_model.make().bytes())
        self.out = self.path("out.f32")

    def test_prompt_longer_than_the_context(self):
        self.fail_with(REFUSED, "run", self.model, "word " * 40, "--ctx", "64", "--raw", says=["context", "64"])
        self.fail_with(REFUSED, "logits", self.model, "--tokens", ",".join(["5"] * 65), "--ctx", "64", "-o", self.out,
                       says=["context", "64"])
        self.assert_only("model.gguf")

    def test_an_answer_that_fills_the_context_says_so(self):
        outcome = self.succeed("run", self.model, "hi", "--raw", "--ctx", "16", "-n", "1000", "--temperature", "0",
                               "--logit-bias", json.dumps({"2": -100, "0": -100}), "--json")
        self.assertIn(outcome.json()["finish_reason"], ("length", "context"))

    def test_token_ids_out_of_range(self):
        for ids in (str(tiny_model.VOCAB), "-1", "2147483648", "99999999999999999999", "1,,2", "one", "1.5", ""):
            with self.subTest(ids=ids):
                self.fail_with(REFUSED, "logits", self.model, f"--tokens={ids}", "-o", self.out)
        self.fail_with(REFUSED, "detokenize", self.model, str(tiny_model.VOCAB), says=[str(tiny_model.VOCAB)])
        self.assert_only("model.gguf")

    def test_token_file_that_is_no_list_of_ids(self):
        for text in ("", "{", "{}", "[1,", '["a"]', "[1.5]", "[-1]", "[[1]]", "[" * 100000, "[]",
                     f"[{tiny_model.VOCAB}]"):
            with self.subTest(text=text[:20]):
                self.fail_with(REFUSED, "logits", self.model, "--tokens-file", self.write("ids.json", text),
                               "-o", self.out)
        self.assert_only("ids.json", "model.gguf")

    def test_chunk_of_nothing(self):
        for chunk in ("0", "-1"):
            self.fail_with(USAGE, "logits", self.model, "--tokens", "1", f"--chunk={chunk}", "-o", self.out,
                           says=["chunk"])

    def test_invalid_utf8(self):
        for raw in (b"caf\xe9", b"\xff", b"ok \xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80"):
            with self.subTest(raw=raw):
                text = self.write("text.txt", raw)
                self.fail_with(REFUSED, "tokenize", self.model, "-f", text, says=["utf-8"])
                self.fail_with(REFUSED, "tokenize", self.model, raw.decode("utf-8", "surrogateescape"),
                               says=["utf-8"])
                self.fail_with(REFUSED, "run", self.model, "-n", "2", stdin=raw, says=["utf-8"])

    def test_input_files_that_are_not_there(self):
        absent = self.path("absent.txt")
        for command in (["tokenize", self.model, "-f", absent], ["perplexity", self.model, "-f", absent],
                        ["eval", self.model, absent], ["logits", self.model, "--tokens-file", absent, "-o", self.out],
                        ["template", self.model, "--messages", absent],
                        ["imatrix", self.model, "-f", absent, "-o", self.out]):
            with self.subTest(command[0]):
                self.fail_with(FAILED, *command, says=["absent.txt"])

    def test_eval_lines_that_are_wrong(self):
        for line in ("{", "[]", '{"expect": "x"}', '{"messages": [], "expect": "x"}', '{"messages": "hi", "expect": "x"}',
                     '{"messages": [{"role": "user", "content": "hi"}]}'):
            with self.subTest(line):
                good = '{"messages": [{"role": "user", "content": "hi"}], "expect": "x"}\n'
                self.fail_with(REFUSED, "eval", self.model, self.write("q.jsonl", good + line + "\n"),
                               "-n", "2", says=["q.jsonl", "line 2|:2"])

    def test_text_too_short_for_perplexity(self):
        self.fail_with(REFUSED, "perplexity", self.model, "-f", self.write("t.txt", "short"), says=["token"])

    def test_a_context_that_no_memory_holds(self):
        outcome = realm("run", self.model, "hi", "--ctx", "1000000000")
        self.assertIn(outcome.status, REFUSED, outcome.err)
        self.assertEqual(len(outcome.err.strip().splitlines()), 1, outcome.err)


if __name__ == "__main__":
    main()
