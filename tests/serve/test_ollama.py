"""The official ollama Python client."""

import hashlib

import ollama

from server import MODEL, ROOT, SLOWER, ServeTest, main

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


class OllamaTest(ServeTest):
    ARGS = ("--ctx", "1024")

    def setUp(self):
        self.client = ollama.Client(host=self.server.url, timeout=120 * SLOWER)

    def chat(self, **kwargs):
        kwargs.setdefault("options", {"temperature": 0})
        return self.client.chat(model=MODEL, messages=QUESTION, **kwargs)

    def test_chat(self):
        answer = self.chat()
        self.assertIn("Paris", answer.message.content)
        self.assertEqual(answer.message.role, "assistant")
        self.assertTrue(answer.done)
        self.assertEqual(answer.done_reason, "stop")
        self.assertGreater(answer.prompt_eval_count, 5)
        self.assertGreater(answer.eval_count, 1)
        self.assertGreater(answer.total_duration, 0)

    def test_chat_stream(self):
        parts = list(self.chat(stream=True))
        self.assertEqual("".join(part.message.content for part in parts), self.chat().message.content)
        self.assertEqual([part.done for part in parts], [False] * (len(parts) - 1) + [True])

    def test_the_digest_is_the_files(self):
        expected = hashlib.sha256((ROOT / "assets" / "realm-tiny.Q8_0.gguf").read_bytes()).hexdigest()
        self.assertEqual([model.digest for model in self.client.list().models], [expected])

    def test_latest_is_the_model(self):
        answer = self.client.chat(model=MODEL + ":latest", messages=QUESTION, options={"num_predict": 1})
        self.assertEqual(answer.done_reason, "length")

    def test_generate(self):
        options = {"temperature": 0, "seed": 1, "num_predict": 8, "stop": ["never there"]}
        answer = self.client.generate(model=MODEL, prompt=QUESTION[0]["content"], options=options)
        self.assertEqual(answer.response, self.chat(options=options).message.content)
        parts = list(self.client.generate(model=MODEL, prompt=QUESTION[0]["content"], options=options, stream=True))
        self.assertEqual("".join(part.response for part in parts), answer.response)
        raw = self.client.generate(model=MODEL, prompt="Once upon a", raw=True, options=options)
        self.assertNotEqual(raw.response, answer.response)
        self.assertEqual(self.client.generate(model=MODEL).done_reason, "load")

    def test_lists_and_shows(self):
        models = self.client.list().models
        self.assertEqual([model.model for model in models], [MODEL])
        self.assertGreater(models[0].size, 0)
        self.assertEqual(models[0].details.format, "gguf")
        shown = self.client.show(MODEL)
        self.assertEqual(shown.details.family, models[0].details.family)
        self.assertIn("completion", shown.capabilities)
        self.assertEqual([model.model for model in self.client.ps().models], [MODEL])

    def test_errors(self):
        with self.assertRaises(ollama.ResponseError) as caught:
            self.client.chat(model="nothing", messages=QUESTION)
        self.assertEqual(caught.exception.status_code, 404)
        for kwargs, field in (({"options": {"temperature": -1}}, "options.temperature"),
                              ({"options": {"num_ctx": 10**8}}, "options.num_ctx"),
                              ({"options": {"surprise": 1}}, "options.surprise"),
                              ({"format": "json"}, "format"), ({"think": True}, "think")):
            with self.assertRaises(ollama.ResponseError) as caught:
                self.chat(**kwargs)
            self.assertEqual(caught.exception.status_code, 400)
            self.assertIn(field, caught.exception.error)


if __name__ == "__main__":
    main()
