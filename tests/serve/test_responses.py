"""OpenAI's Responses API by its official Python client."""

import openai
from openai import OpenAI

from server import MODEL, SLOWER, ServeTest, main

QUESTION = "What is the capital of France?"


class ResponsesTest(ServeTest):
    ARGS = ("--ctx", "1024")

    def setUp(self):
        self.client = OpenAI(base_url=self.server.base, api_key="none", max_retries=0, timeout=120 * SLOWER)
        self.addCleanup(self.client.close)

    def create(self, **kwargs):
        kwargs.setdefault("model", MODEL)
        kwargs.setdefault("input", QUESTION)
        kwargs.setdefault("temperature", 0)
        return self.client.responses.create(**kwargs)

    def test_answers(self):
        response = self.create(metadata={"a": "b"})
        self.assertIn("Paris", response.output_text)
        self.assertEqual((response.object, response.status, response.model), ("response", "completed", MODEL))
        self.assertEqual(response.output[0].role, "assistant")
        self.assertEqual(response.metadata, {"a": "b"})
        self.assertEqual(response.usage.total_tokens, response.usage.input_tokens + response.usage.output_tokens)
        self.assertIsNone(response.incomplete_details)

    def test_incomplete(self):
        response = self.create(max_output_tokens=2)
        self.assertEqual(response.status, "incomplete")
        self.assertEqual(response.incomplete_details.reason, "max_output_tokens")

    def test_messages_as_input(self):
        parts = [{"role": "user", "content": [{"type": "input_text", "text": QUESTION}]}]
        first = self.create(input=parts)
        self.assertEqual(first.output_text, self.create().output_text)
        again = [*parts, *[item.model_dump(exclude_none=True) for item in first.output],
                 {"role": "user", "content": "And of Italy?"}]
        self.create(input=again, instructions="Be brief.", max_output_tokens=2)

    def test_stream(self):
        whole = self.create()
        events = list(self.create(stream=True))
        self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
        self.assertEqual([event.type for event in events[:4]],
                         ["response.created", "response.in_progress", "response.output_item.added",
                          "response.content_part.added"])
        self.assertEqual([event.type for event in events[-4:]],
                         ["response.output_text.done", "response.content_part.done",
                          "response.output_item.done", "response.completed"])
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        self.assertEqual(text, whole.output_text)
        self.assertEqual(events[-1].response.output_text, text)
        self.assertEqual(events[-1].response.usage.output_tokens, whole.usage.output_tokens)

    def test_the_clients_own_stream_helper(self):
        with self.client.responses.stream(model=MODEL, input=QUESTION, temperature=0) as stream:
            for _ in stream:
                pass
            self.assertIn("Paris", stream.get_final_response().output_text)

    def test_refusals(self):
        for kwargs in ({"store": True}, {"previous_response_id": "resp_1"}, {"background": True},
                       {"truncation": "auto"}, {"tools": [{"type": "web_search"}]},
                       {"include": ["message.output_text.logprobs"]}, {"max_output_tokens": 0}):
            with self.assertRaises(openai.BadRequestError) as caught:
                self.create(**kwargs)
            self.assertEqual(caught.exception.param, next(iter(kwargs)))
        with self.assertRaises(openai.BadRequestError) as caught:
            self.create(text={"format": {"type": "json_object"}})
        self.assertEqual(caught.exception.param, "text.format.type")


if __name__ == "__main__":
    main()
