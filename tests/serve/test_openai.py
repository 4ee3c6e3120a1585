"""The official OpenAI Python client against the server: what it parses is its own types."""

import asyncio
import math

import openai
from openai import AsyncOpenAI, OpenAI

from server import MODEL, SLOWER, ServeTest, main

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Tell me a short story about a fox."}]


class OpenAiTest(ServeTest):
    ARGS = ("--ctx", "2048")

    def setUp(self):
        self.client = OpenAI(base_url=self.server.base, api_key="none", max_retries=0, timeout=120 * SLOWER)
        self.addCleanup(self.client.close)

    def chat(self, **kwargs):
        kwargs.setdefault("model", MODEL)
        kwargs.setdefault("messages", QUESTION)
        kwargs.setdefault("temperature", 0)
        return self.client.chat.completions.create(**kwargs)

    def refused(self, kind, param=None, **kwargs):
        with self.assertRaises(kind) as caught:
            self.chat(**kwargs)
        if param is not None:
            self.assertEqual(caught.exception.param, param, caught.exception)
            self.assertIn(param.split(".")[-1].split("[")[0], caught.exception.message)
        return caught.exception

    # --- Chat, whole ---

    def test_answers(self):
        answer = self.chat()
        self.assertIn("Paris", answer.choices[0].message.content)
        self.assertEqual(answer.object, "chat.completion")
        self.assertEqual(answer.model, MODEL)
        self.assertEqual(answer.choices[0].message.role, "assistant")
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertEqual(answer.choices[0].index, 0)
        self.assertIsNone(answer.choices[0].logprobs)
        usage = answer.usage
        self.assertGreater(usage.prompt_tokens, 5)
        self.assertGreater(usage.completion_tokens, 1)
        self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
        self.assertGreaterEqual(usage.prompt_tokens_details.cached_tokens, 0)

    def test_ids_differ_and_are_long(self):
        ids = {self.chat(max_tokens=1).id for _ in range(3)}
        self.assertEqual(len(ids), 3)
        self.assertTrue(all(id_.startswith("chatcmpl-") and len(id_) >= 30 for id_ in ids), ids)

    def test_length(self):
        answer = self.chat(max_tokens=2)
        self.assertEqual(answer.choices[0].finish_reason, "length")
        self.assertEqual(answer.usage.completion_tokens, 2)
        self.assertEqual(self.chat(max_completion_tokens=2).usage.completion_tokens, 2)

    def test_time_limit(self):
        late = {"timeout_s": 0.001}
        with self.assertRaises(openai.APIStatusError) as caught:
            self.chat(max_tokens=1000, extra_body={**late, "ignore_eos": True})
        self.assertEqual((caught.exception.status_code, caught.exception.code), (504, "timeout"))
        with self.assertRaises(openai.APIError) as caught:
            list(self.chat(max_tokens=1000, stream=True, extra_body={**late, "ignore_eos": True}))
        self.assertEqual(caught.exception.code, "timeout")
        self.assertIn("Paris", self.chat(extra_body={"timeout_s": 3600}).choices[0].message.content)
        self.refused(openai.BadRequestError, "timeout_s", extra_body={"timeout_s": 0})

    def test_seed(self):
        def texts(seed):
            answer = self.chat(messages=STORY, seed=seed, temperature=1.5, max_tokens=24, n=2)
            return [choice.message.content for choice in answer.choices]
        first = texts(7)
        self.assertEqual(first, texts(7))
        self.assertNotEqual(first[0], first[1], "each choice has a seed of its own")
        self.assertNotEqual(first, texts(8))

    def test_n(self):
        answer = self.chat(n=5, max_tokens=6, temperature=1)
        self.assertEqual([choice.index for choice in answer.choices], [0, 1, 2, 3, 4])
        self.assertLessEqual(answer.usage.completion_tokens, 30)
        self.assertEqual(answer.usage.prompt_tokens, self.chat(max_tokens=1).usage.prompt_tokens)

    def test_stop(self):
        whole = self.chat().choices[0].message.content
        stop = whole[4:7]
        for value in (stop, [stop, "never there"]):
            answer = self.chat(stop=value)
            self.assertEqual(answer.choices[0].message.content, whole[:whole.index(stop)])
            self.assertEqual(answer.choices[0].finish_reason, "stop")
        kept = self.chat(stop=stop, extra_body={"include_stop_str_in_output": True})
        self.assertEqual(kept.choices[0].message.content, whole[:whole.index(stop)] + stop)

    def test_logprobs(self):
        answer = self.chat(logprobs=True, top_logprobs=4, max_tokens=5)
        content = answer.choices[0].logprobs.content
        self.assertEqual(len(content), 5)
        self.assertEqual("".join(entry.token for entry in content), answer.choices[0].message.content)
        for entry in content:
            self.assertLessEqual(entry.logprob, 0)
            self.assertEqual(bytes(entry.bytes).decode(), entry.token)
            self.assertEqual(len(entry.top_logprobs), 4)
            values = [top.logprob for top in entry.top_logprobs]
            self.assertEqual(values, sorted(values, reverse=True))
            # Greedy: the token is the likeliest one.
            self.assertEqual(entry.token, entry.top_logprobs[0].token)
            self.assertLessEqual(sum(map(math.exp, values)), 1.001)
        self.assertIsNone(self.chat(max_tokens=1).choices[0].logprobs)

    def test_logit_bias(self):
        content = self.chat(logprobs=True, max_tokens=1).choices[0].logprobs.content
        tokens = self.client.post("/../tokenize", cast_to=object,
                                  body={"content": content[0].token, "add_special": False})["tokens"]
        banned = self.chat(logprobs=True, max_tokens=1, logit_bias={str(tokens[0]): -100})
        self.assertNotEqual(banned.choices[0].logprobs.content[0].token, content[0].token)

    def test_penalties(self):
        plain = self.chat(messages=STORY, max_tokens=60).choices[0].message.content
        for name in ("presence_penalty", "frequency_penalty"):
            changed = self.chat(messages=STORY, max_tokens=60, **{name: 2.0}).choices[0].message.content
            self.assertNotEqual(plain, changed, name)
        repeated = self.chat(messages=STORY, max_tokens=60, extra_body={"repeat_penalty": 1.8, "repeat_last_n": -1})
        self.assertNotEqual(plain, repeated.choices[0].message.content)

    def test_sampler_fields_of_llama_cpp(self):
        fields = {"top_k": 1, "min_p": 0.1, "typical_p": 0.9, "xtc_probability": 0.0, "dry_multiplier": 0.5,
                  "dry_sequence_breakers": ["\n"], "samplers": ["top_k", "temperature"], "mirostat": 0}
        answer = self.chat(temperature=2, max_tokens=4, extra_body=fields)
        self.assertEqual(answer.choices[0].message.content, self.chat(max_tokens=4).choices[0].message.content)

    def test_content_parts_and_roles(self):
        parts = [{"type": "text", "text": "What is the capital "}, {"type": "text", "text": "of France?"}]
        self.assertEqual(self.chat(messages=[{"role": "user", "content": parts}]).choices[0].message.content,
                         self.chat().choices[0].message.content)
        for role in ("system", "developer"):
            self.chat(messages=[{"role": role, "content": "Be brief."}, *QUESTION], max_tokens=2)

    def test_cached_tokens(self):
        long_question = [{"role": "user", "content": "Count the words: " + "fox and hound " * 60}]
        first = self.chat(messages=long_question, max_tokens=1).usage
        second = self.chat(messages=long_question, max_tokens=1).usage
        self.assertGreater(second.prompt_tokens_details.cached_tokens, first.prompt_tokens // 2)

    # --- Chat, streamed ---

    def test_stream(self):
        whole = self.chat(max_tokens=20)
        chunks = list(self.chat(max_tokens=20, stream=True))
        self.assertEqual("".join(chunk.choices[0].delta.content or "" for chunk in chunks),
                         whole.choices[0].message.content)
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        self.assertTrue(all(chunk.choices[0].delta.role is None for chunk in chunks[1:]))
        self.assertEqual({chunk.id for chunk in chunks}, {chunks[0].id})
        self.assertTrue(all(chunk.object == "chat.completion.chunk" for chunk in chunks))
        self.assertTrue(all(chunk.choices[0].finish_reason is None for chunk in chunks[:-1]))
        self.assertEqual(chunks[-1].choices[0].finish_reason, whole.choices[0].finish_reason)
        self.assertIsNone(chunks[-1].choices[0].delta.content)
        self.assertTrue(all(chunk.usage is None for chunk in chunks))

    def test_stream_usage(self):
        chunks = list(self.chat(max_tokens=5, stream=True, stream_options={"include_usage": True}))
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.completion_tokens, 5)
        self.assertTrue(all(chunk.usage is None for chunk in chunks[:-1]))

    def test_stream_of_several_choices(self):
        whole = self.chat(n=3, temperature=1, seed=3, max_tokens=10)
        texts = {}
        for chunk in self.chat(n=3, temperature=1, seed=3, max_tokens=10, stream=True):
            choice = chunk.choices[0]
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
        self.assertEqual([texts[i] for i in range(3)], [choice.message.content for choice in whole.choices])

    def test_stream_logprobs(self):
        entries = []
        for chunk in self.chat(max_tokens=6, stream=True, logprobs=True, top_logprobs=1):
            if chunk.choices[0].logprobs is not None:
                entries += chunk.choices[0].logprobs.content
        self.assertEqual(len(entries), 6)

    def test_stream_stop(self):
        whole = self.chat().choices[0].message.content
        stop = whole[3:6]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in self.chat(stop=stop, stream=True))
        self.assertEqual(text, whole[:whole.index(stop)])

    def test_stream_left_half_way(self):
        for _ in range(3):
            with self.chat(max_tokens=1500, stream=True, extra_body={"ignore_eos": True}) as stream:
                next(iter(stream))
        self.assertIn("Paris", self.chat().choices[0].message.content)

    # --- Text completions ---

    def complete(self, **kwargs):
        kwargs.setdefault("model", MODEL)
        kwargs.setdefault("temperature", 0)
        return self.client.completions.create(**kwargs)

    def test_completions(self):
        answer = self.complete(prompt="Once upon a time", max_tokens=8)
        self.assertEqual(answer.object, "text_completion")
        self.assertEqual(answer.usage.completion_tokens, 8)
        self.assertEqual(answer.choices[0].finish_reason, "length")
        streamed = "".join(chunk.choices[0].text
                           for chunk in self.complete(prompt="Once upon a time", max_tokens=8, stream=True))
        self.assertEqual(streamed, answer.choices[0].text)
        echoed = self.complete(prompt="Once upon a time", max_tokens=8, echo=True)
        self.assertEqual(echoed.choices[0].text, "Once upon a time" + answer.choices[0].text)

    def test_completions_of_several_prompts(self):
        answer = self.complete(prompt=["One, two,", "Red, green,"], n=2, max_tokens=3, temperature=1, seed=1)
        self.assertEqual([choice.index for choice in answer.choices], [0, 1, 2, 3])
        alone = self.complete(prompt="Red, green,", n=2, max_tokens=3, temperature=1, seed=1)
        self.assertEqual([choice.text for choice in answer.choices[2:]], [choice.text for choice in alone.choices])

    def test_completions_of_token_ids(self):
        ids = self.client.post("/../tokenize", cast_to=object, body={"prompt": "Once upon a time"})["tokens"]
        self.assertEqual(self.complete(prompt=ids, max_tokens=4).choices[0].text,
                         self.complete(prompt="Once upon a time", max_tokens=4).choices[0].text)
        self.assertEqual(len(self.complete(prompt=[ids, ids], max_tokens=1).choices), 2)

    def test_completions_logprobs(self):
        answer = self.complete(prompt="Once upon a time", max_tokens=4, logprobs=3)
        logprobs = answer.choices[0].logprobs
        self.assertEqual("".join(logprobs.tokens), answer.choices[0].text)
        self.assertEqual(len(logprobs.token_logprobs), 4)
        self.assertEqual(len(logprobs.text_offset), 4)
        self.assertEqual(logprobs.text_offset[0], 0)
        for token, logprob, top in zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs):
            self.assertAlmostEqual(top[token], logprob, places=5)
            self.assertLessEqual(len(top), 3)

    def test_best_of(self):
        best = self.complete(prompt="The fox", max_tokens=5, temperature=1, seed=4, n=1, best_of=4)
        every = self.complete(prompt="The fox", max_tokens=5, temperature=1, seed=4, n=4, logprobs=0)
        scores = {choice.text: sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs)
                  for choice in every.choices}
        self.assertEqual(best.choices[0].text, max(scores, key=scores.get))
        self.assertEqual(len(best.choices), 1)

    # --- Models, errors ---

    def test_models(self):
        models = self.client.models.list()
        self.assertEqual([model.id for model in models], [MODEL])
        self.assertEqual(self.client.models.retrieve(MODEL).object, "model")
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("nothing")

    def test_unknown_model(self):
        error = self.refused(openai.NotFoundError, "model", model="gpt-5")
        self.assertEqual(error.code, "model_not_found")

    def test_bad_fields_are_named(self):
        for field, values in {"temperature": [-1, 1e9, "hot"], "top_p": [-0.1, 1.1], "n": [0, -1, 1000, 1.5],
                              "max_tokens": [0, -5, 2**40], "presence_penalty": [3], "frequency_penalty": [-3],
                              "top_logprobs": [1], "stop": [[""], 5, ["x"] * 100], "seed": ["x", 2**70],
                              "logit_bias": [{"x": 1}, {"1": 1000}, {"99999999": 1}, 5],
                              "stream_options": [{"include_usage": True}]}.items():
            for value in values:
                self.refused(openai.BadRequestError, field, **{field: value})

    def test_what_is_not_done_is_refused(self):
        tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
        for field, value in {"tools": [tool], "functions": [{"name": "f"}], "modalities": ["text", "audio"],
                             "reasoning_effort": "high", "prediction": {"type": "content", "content": ""},
                             "store": True, "audio": {"voice": "alloy", "format": "wav"},
                             "web_search_options": {}}.items():
            self.refused(openai.BadRequestError, field, **{field: value})
        self.refused(openai.BadRequestError, "response_format.type", response_format={"type": "json_object"})
        self.refused(openai.BadRequestError, "no_such_field", extra_body={"no_such_field": 1})
        # What asks for what happens anyway is no request for more.
        self.chat(max_tokens=1, response_format={"type": "text"}, tool_choice="none", modalities=["text"],
                  store=False, user="u", service_tier="auto", extra_body={"metadata": {"a": "b"}})

    def test_bad_messages_are_named(self):
        image = {"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}
        for messages, param in (([], "messages"), ([{"role": "robot", "content": "x"}], "messages[0].role"),
                                ([{"role": "user"}], "messages[0].content"),
                                ([{"role": "user", "content": 5}], "messages[0].content"),
                                ([{"role": "user", "content": [image]}], "messages[0].content[0].type"),
                                ([*QUESTION, {"role": "tool", "content": "x"}], "messages[1].role")):
            with self.assertRaises(openai.BadRequestError) as caught:
                self.chat(messages=messages)
            self.assertEqual(caught.exception.param, param)

    def test_prompt_past_the_context(self):
        error = self.refused(openai.BadRequestError, "messages",
                             messages=[{"role": "user", "content": "fox " * 5000}])
        self.assertEqual(error.code, "context_length_exceeded")

    # --- Many at once ---

    def test_64_at_once(self):
        async def ask_all():
            async with AsyncOpenAI(base_url=self.server.base, api_key="none", max_retries=0,
                                   timeout=300 * SLOWER) as client:
                return await asyncio.gather(*(client.chat.completions.create(
                    model=MODEL, messages=QUESTION, temperature=0, max_tokens=8) for _ in range(64)))
        expected = self.chat(max_tokens=8).choices[0].message.content
        texts = [answer.choices[0].message.content for answer in asyncio.run(ask_all())]
        self.assertEqual(texts, [expected] * 64, "the same answer whatever runs beside it")


if __name__ == "__main__":
    main()
