"""The official Anthropic Python client against /v1/messages."""

import anthropic

from server import MODEL, SLOWER, ServeTest, main

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


class AnthropicTest(ServeTest):
    ARGS = ("--ctx", "1024")

    def setUp(self):
        self.client = anthropic.Anthropic(base_url=self.server.url, api_key="none", max_retries=0,
                                          timeout=120 * SLOWER)
        self.addCleanup(self.client.close)

    def create(self, **kwargs):
        kwargs.setdefault("model", MODEL)
        kwargs.setdefault("messages", QUESTION)
        kwargs.setdefault("max_tokens", 64)
        kwargs.setdefault("extra_body", {"temperature": 0})
        return self.client.messages.create(**kwargs)

    def test_answers(self):
        message = self.create()
        self.assertIn("Paris", message.content[0].text)
        self.assertEqual((message.type, message.role, message.model), ("message", "assistant", MODEL))
        self.assertEqual(message.content[0].type, "text")
        self.assertEqual(message.stop_reason, "end_turn")
        self.assertIsNone(message.stop_sequence)
        self.assertGreater(message.usage.output_tokens, 1)
        self.assertTrue(message._request_id.startswith("req_"))

    def test_usage_adds_up_with_the_cache(self):
        first, second = self.create(), self.create()
        whole = [m.usage.input_tokens + m.usage.cache_read_input_tokens for m in (first, second)]
        self.assertEqual(whole[0], whole[1])
        counted = self.client.messages.count_tokens(model=MODEL, messages=QUESTION)
        self.assertEqual(counted.input_tokens, whole[0])

    def test_stop_reasons(self):
        self.assertEqual(self.create(max_tokens=2).stop_reason, "max_tokens")
        stopped = self.create(stop_sequences=["Paris"])
        self.assertEqual(stopped.stop_reason, "stop_sequence")
        self.assertEqual(stopped.stop_sequence, "Paris")
        self.assertNotIn("Paris", stopped.content[0].text)

    def test_system_and_blocks(self):
        blocks = [{"role": "user", "content": [{"type": "text", "text": QUESTION[0]["content"]}]}]
        self.assertEqual(self.create(messages=blocks).content[0].text, self.create().content[0].text)
        self.create(system="Be brief.", max_tokens=2)
        self.create(system=[{"type": "text", "text": "Be brief."}], max_tokens=2)

    def test_goes_on_from_the_assistants_words(self):
        whole = self.create().content[0].text
        begun = [*QUESTION, {"role": "assistant", "content": whole[:8]}]
        self.assertNotIn(whole[:8], self.create(messages=begun).content[0].text)

    def test_stream(self):
        whole = self.create()
        with self.client.messages.stream(model=MODEL, messages=QUESTION, max_tokens=64,
                                         extra_body={"temperature": 0}) as stream:
            events = list(stream)
            final = stream.get_final_message()
        self.assertEqual(final.content[0].text, whole.content[0].text)
        self.assertEqual(final.stop_reason, whole.stop_reason)
        self.assertEqual(final.usage.output_tokens, whole.usage.output_tokens)
        kinds = [event.type for event in events if event.type not in ("text", "ping")]
        self.assertEqual(kinds[:2], ["message_start", "content_block_start"])
        self.assertEqual(kinds[-3:], ["content_block_stop", "message_delta", "message_stop"])
        self.assertEqual(set(kinds[2:-3]), {"content_block_delta"})

    def test_errors(self):
        for kind, kwargs in ((anthropic.NotFoundError, {"model": "nothing"}),
                             (anthropic.BadRequestError, {"extra_body": {"temperature": -1}}),
                             (anthropic.BadRequestError, {"messages": []}),
                             (anthropic.BadRequestError, {"max_tokens": 0}),
                             (anthropic.BadRequestError, {"tools": [{"name": "f", "input_schema": {}}]}),
                             (anthropic.BadRequestError, {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
                             (anthropic.BadRequestError, {"messages": [{"role": "system", "content": "x"}]})):
            with self.assertRaises(kind) as caught:
                self.create(**kwargs)
            self.assertEqual(caught.exception.body["type"], "error")
            field = next(iter(kwargs.get("extra_body", kwargs)))
            self.assertIn(field, caught.exception.body["error"]["message"])


if __name__ == "__main__":
    main()
