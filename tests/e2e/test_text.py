"""tokenize, detokenize and template."""

import json
import os
import threading

import tiny_model
from harness import EMBEDDED, RealmTest, main

SAMPLES = ["Hello, world!", " leading and trailing  ", "naïve café — ünïcode", "日本語のテキスト", "🦊🐈‍⬛ emoji", "a\nb\n\n\tc",
           "0123456789 3.14 1e-9", "don't we'll I'VE", "x" * 300, "\u200b\ufeff", "نص عربي"]


class Tokenize(RealmTest):
    def ids(self, *args, **kwargs):
        return [int(word) for word in self.succeed("tokenize", EMBEDDED, *args, **kwargs).text.split()]

    def text(self, ids) -> str:
        return self.succeed("detokenize", EMBEDDED, *map(str, ids)).text

    def test_there_and_back(self):
        for sample in SAMPLES:
            with self.subTest(sample):
                ids = self.ids("-f", self.write("t.txt", sample))
                self.assertTrue(all(0 <= token < 8192 for token in ids))
                self.assertEqual(self.text(ids).removesuffix("\n"), sample)

    def test_argument_file_and_pipe_agree(self):
        for sample in ("Hello, world!", "naïve café"):
            ids = self.ids(sample)
            self.assertEqual(self.ids("-f", self.write("t.txt", sample)), ids)
            self.assertEqual(self.ids(stdin=sample), ids)

    def test_special_tokens_only_when_asked(self):
        self.assertEqual(self.ids("--special", "<|im_start|>"), [1])
        plain = self.ids("<|im_start|>")
        self.assertGreater(len(plain), 1)
        self.assertNotIn(1, plain)

    def test_reference_prompts(self):
        for line in self.shared("models", "realm-tiny", "eval", "greedy.jsonl").read_text().splitlines()[:10]:
            case = json.loads(line)
            messages = self.write("m.json", json.dumps(case["messages"]))
            prompt = self.succeed("template", EMBEDDED, "--messages", messages).text
            self.assertEqual(self.ids("--special", "-f", self.write("p.txt", prompt)), case["prompt_ids"])

    def test_reference_vocabulary(self):
        for name in ("llama-spm", "gpt-2", "bert-bge", "deepseek-llm"):
            with self.subTest(name):
                vocabulary = self.shared("tokenizers", f"ggml-vocab-{name}.gguf")
                inputs = vocabulary.with_suffix(".gguf.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
                outputs = vocabulary.with_suffix(".gguf.out").read_text().splitlines()
                for sample, expected in list(zip(inputs, outputs))[::6]:
                    outcome = self.succeed("tokenize", vocabulary, "--no-bos", "-f", self.write("t.txt", sample))
                    self.assertEqual(outcome.text.split(), expected.split(), repr(sample))

    def test_empty(self):
        self.assertEqual(self.ids("-f", self.write("t.txt", "")), [])


class Template(RealmTest):
    MESSAGES = [{"role": "user", "content": "Hi \"you\" & <me>"}, {"role": "assistant", "content": "Hello."},
                {"role": "user", "content": "Bye"}]

    def render(self, *args, messages=None) -> bytes:
        path = self.write("messages.json", json.dumps(self.MESSAGES if messages is None else messages))
        return self.succeed("template", *args, "--messages", path).out

    def test_chatml_byte_for_byte(self):
        turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in self.MESSAGES)
        model = self.write("model.gguf", tiny_model.make().bytes())
        self.assertEqual(self.render(model).decode(), turns + "<|im_start|>assistant\n")
        self.assertEqual(self.render(model, "--no-generation-prompt").decode(), turns)

    def test_a_file_and_variables(self):
        template = self.write("t.jinja", "{{ messages|length }} {{ mood }} {{ extra | tojson }}")
        self.assertEqual(self.render("--file", template, "--set", 'mood="calm"', "--set", 'extra={"b": 1, "a": [true]}'),
                         b'3 calm {"b": 1, "a": [true]}')

    def test_tools_reach_the_template(self):
        tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
        rendered = self.render(EMBEDDED, "--tools", self.write("tools.json", json.dumps(tools))).decode()
        self.assertIn("weather", rendered)

    def test_wrong_input(self):
        good = self.write("m.json", json.dumps(self.MESSAGES))
        for template, says in (("{{", "t.jinja"), ("{% for %}", "t.jinja"), ("{{ raise_exception('no cats') }}", "no cats"),
                               ("{% for i in range(1000000000) %}x{% endfor %}", "limit|range|fuel"),
                               ("{% include '/etc/passwd' %}", "include|passwd")):
            with self.subTest(template):
                self.fail_with((1, 2, 3), "template", "--file", self.write("t.jinja", template), "--messages", good,
                               says=[says], timeout=30)
        for text in ("", "{}", "[", '["x"]', "nul", "[" * 100000):
            with self.subTest(text[:10]):
                self.fail_with((1, 2), "template", EMBEDDED, "--messages", self.write("m.json", text), says=["m.json"])


class Pipes(RealmTest):
    def test_text_from_a_named_pipe(self):
        pipe = self.path("pipe")
        os.mkfifo(pipe)
        writer = threading.Thread(target=lambda: pipe.write_text("Hello world"))
        writer.start()
        self.addCleanup(writer.join)
        self.assertEqual(self.succeed("tokenize", EMBEDDED, "-f", pipe).text,
                         self.succeed("tokenize", EMBEDDED, "Hello world").text)

    def test_a_pipe_is_no_model(self):
        os.mkfifo(self.path("model.gguf"))
        self.fail_with((1, 3), "inspect", self.path("model.gguf"), says=["model.gguf", "regular file"], timeout=20)

    def test_a_word_alone_that_is_a_text(self):
        self.assertEqual(self.succeed("tokenize", "Hello world").text,
                         self.succeed("tokenize", EMBEDDED, "Hello world").text)


if __name__ == "__main__":
    main()
