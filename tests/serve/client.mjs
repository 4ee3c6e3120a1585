// The official OpenAI Node client against the server: test_node.py runs this file with the base URL and
// reads one line of JSON for each check: {"name", "error"}.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
const model = process.argv[3];
const messages = [{ role: "user", content: "What is the capital of France?" }];

async function check(name, body) {
  let error = null;
  try {
    await body();
  } catch (caught) {
    error = String(caught.stack ?? caught);
  }
  console.log(JSON.stringify({ name, error }));
}

await check("chat", async () => {
  const answer = await client.chat.completions.create({ model, messages, temperature: 0 });
  assert.match(answer.choices[0].message.content, /Paris/);
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
});

await check("stream", async () => {
  const stream = await client.chat.completions.create({
    model, messages, temperature: 0, stream: true, stream_options: { include_usage: true },
  });
  let text = "", usage = null, finish = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    finish = chunk.choices[0]?.finish_reason ?? finish;
    usage = chunk.usage ?? usage;
  }
  assert.match(text, /Paris/);
  assert.equal(finish, "stop");
  assert.ok(usage.completion_tokens > 1);
});

await check("the client's own stream helper", async () => {
  const runner = client.chat.completions.stream({ model, messages, temperature: 0 });
  assert.match(await runner.finalContent(), /Paris/);
});

await check("abort", async () => {
  const stream = await client.chat.completions.create({
    model, messages, stream: true, max_tokens: 900, ignore_eos: true,
  });
  for await (const chunk of stream) {
    if (chunk.choices[0].delta.content) break;
  }
  stream.controller.abort();
});

await check("errors", async () => {
  await assert.rejects(client.chat.completions.create({ model: "nothing", messages }), OpenAI.NotFoundError);
  await assert.rejects(client.chat.completions.create({ model, messages, n: 0 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, "n");
    return true;
  });
});

await check("responses", async () => {
  const response = await client.responses.create({ model, input: messages[0].content, temperature: 0 });
  assert.match(response.output_text, /Paris/);
  const kinds = [];
  for await (const event of await client.responses.create({ model, input: "Hello", stream: true, temperature: 0 })) {
    kinds.push(event.type);
  }
  assert.equal(kinds[0], "response.created");
  assert.equal(kinds.at(-1), "response.completed");
});

await check("models and completions", async () => {
  const models = await client.models.list();
  assert.deepEqual(models.data.map((entry) => entry.id), [model]);
  const answer = await client.completions.create({ model, prompt: "Once upon a time", max_tokens: 4 });
  assert.equal(answer.usage.completion_tokens, 4);
});

await check("sixteen at once", async () => {
  const answers = await Promise.all(Array.from({ length: 16 }, () =>
    client.chat.completions.create({ model, messages, temperature: 0, max_tokens: 6 })));
  assert.equal(new Set(answers.map((answer) => answer.choices[0].message.content)).size, 1);
});
