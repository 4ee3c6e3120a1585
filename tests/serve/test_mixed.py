"""A mix of requests, many of them cut off at random: nothing is left of them. REALM_MIXED sets how many
(10000 by hand; fewer in the suite)."""

import asyncio
import json
import os
import random
import time

from server import MODEL, SANITIZED, SLOWER, ServeTest, main

REQUESTS = int(os.environ.get("REALM_MIXED") or (100 if SANITIZED else 250))
AT_ONCE = 48
WORDS = "fox river stone seven green walk song house cloud north bread light".split()


class MixedTest(ServeTest):
    ARGS = ("--ctx", "512", "--parallel", "24", "--queue", "64")

    def make(self, rng):
        """Path and body of a request; many are wrong, more are right."""
        words = " ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 60)))
        messages = [{"role": "user", "content": words}]
        body = {"model": MODEL, "max_tokens": rng.randrange(1, 40), "seed": rng.randrange(10), "ignore_eos": True,
                "stream": rng.random() < 0.6}
        kind = rng.randrange(10)
        if kind < 5:
            return "/v1/chat/completions", {**body, "messages": messages, "n": rng.choice((1, 1, 1, 3)),
                                            "logprobs": rng.random() < 0.2}
        if kind < 7:
            return "/v1/completions", {**body, "prompt": words, "stop": rng.choice((None, ["e"]))}
        if kind == 7:
            return "/v1/messages", {"model": MODEL, "max_tokens": 8, "messages": messages, "stream": body["stream"]}
        if kind == 8:
            return "/api/chat", {"model": MODEL, "messages": messages, "options": {"num_predict": 8}}
        return "/v1/chat/completions", {**body, "messages": messages, "temperature": -1}

    async def one(self, rng, counts):
        path, body = self.make(rng)
        cut = rng.random() < 0.35
        data = json.dumps(body).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"
            writer.write(head.encode() + data)
            await writer.drain()
            if cut:
                try:
                    await asyncio.wait_for(reader.read(rng.randrange(1, 2000)), rng.random() * 0.5)
                except asyncio.TimeoutError:
                    pass
                counts["cut"] += 1
                return
            got = await asyncio.wait_for(reader.read(), 240 * SLOWER)
            status = int(got.split(b" ", 2)[1])
            wrong = body.get("temperature") == -1
            # A full queue is an answer, too.
            self.assertIn(status, (400,) if wrong else (200, 429), got[:500])
            counts[status] = counts.get(status, 0) + 1
        finally:
            writer.close()

    async def run_all(self):
        rng = random.Random(5)
        counts = {"cut": 0}
        gate = asyncio.Semaphore(AT_ONCE)

        async def guarded(seed):
            async with gate:
                await self.one(random.Random(seed), counts)

        await asyncio.gather(*(guarded(rng.random()) for _ in range(REQUESTS)))
        return counts

    def gauges(self, names):
        lines = self.server.request("GET", "/metrics").body.decode().splitlines()
        return {name: [line.split()[-1] for line in lines if line.startswith(name + "{")] for name in names}

    def test_nothing_is_left(self):
        before = self.server.descriptors()
        counts = asyncio.run(self.run_all())
        self.assertEqual(sum(counts.values()), REQUESTS, counts)
        self.assertGreater(counts.get(200, 0), REQUESTS // 10, counts)
        idle = {name: ["0"] for name in ("vllm:kv_cache_usage_perc", "vllm:num_requests_running",
                                         "vllm:num_requests_waiting")}
        deadline = time.monotonic() + 60 * SLOWER
        while time.monotonic() < deadline:
            if self.server.descriptors() <= before and self.gauges(idle) == idle:
                break
            time.sleep(0.1)
        self.assertLessEqual(self.server.descriptors(), before, "descriptors of cut connections")
        self.assertEqual(self.gauges(idle), idle)
        reply = self.server.request("POST", "/v1/chat/completions",
                                    {"model": MODEL, "max_tokens": 4, "messages": [{"role": "user", "content": "Hi"}]})
        self.assertEqual(reply.status, 200)


if __name__ == "__main__":
    main()
