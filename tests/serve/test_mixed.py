"""A mix of requests, many of them cut off at random: nothing is left of them but one row each in the ledger.
REALM_MIXED sets how many (10000 by hand; fewer in the suite)."""

import asyncio
import concurrent.futures
import json
import os
import pathlib
import random
import shutil
import sqlite3
import tempfile
import time
import unittest

from server import MODEL, SANITIZED, SLOWER, Reply, Server, main

REQUESTS = int(os.environ.get("REALM_MIXED") or (100 if SANITIZED else 250))
AT_ONCE = 48
WORDS = "fox river stone seven green walk song house cloud north bread light".split()


class MixedTest(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="realm-mixed-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.store = self.dir / "realm.db"
        self.server = None
        self.answered = []  # request ids of whole answers
        self.kill_after = None  # so many of them; then the server is killed
        self.addCleanup(lambda: self.server and self.server.process.poll() is None and self.server.process.kill())

    def start(self, *args):
        self.server = Server("--ctx", "512", "--parallel", "24", "--queue", "64", "--store", str(self.store), *args)

    def rows(self):
        """Ids of the ledger's rows, which must be sound."""
        with sqlite3.connect(self.store) as store:
            self.assertEqual(store.execute("PRAGMA integrity_check").fetchone(), ("ok",))
            ids = [row[0] for row in store.execute("SELECT request_id FROM usage")]
        store.close()
        self.assertEqual(len(ids), len(set(ids)), "a request has two rows")
        return ids

    def make(self, rng):
        """Path and body of a request; many are wrong, more are right."""
        words = " ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 60)))
        messages = [{"role": "user", "content": words}]
        body = {"model": MODEL, "max_tokens": rng.randrange(1, 40), "seed": rng.randrange(10), "ignore_eos": True,
                "stream": rng.random() < 0.6}
        kind = rng.randrange(13)
        if kind < 5:
            return "/v1/chat/completions", {**body, "messages": messages, "n": rng.choice((1, 1, 1, 3)),
                                            "logprobs": rng.random() < 0.2}
        if kind < 7:
            return "/v1/completions", {**body, "prompt": words, "stop": rng.choice((None, ["e"]))}
        if kind == 7:
            return "/v1/messages", {"model": MODEL, "max_tokens": 8, "messages": messages, "stream": body["stream"]}
        if kind == 8:
            return "/api/chat", {"model": MODEL, "messages": messages, "options": {"num_predict": 8}}
        if kind == 9:
            return "/v1/embeddings", {"model": MODEL, "input": [words] * rng.choice((1, 1, 40))}
        if kind == 10:
            return "/v1/responses", {"model": MODEL, "input": words, "max_output_tokens": 8, "stream": body["stream"]}
        if kind == 11:
            return "/api/embed", {"model": MODEL, "input": words}
        return "/v1/chat/completions", {**body, "messages": messages, "temperature": -1}

    @staticmethod
    def is_whole(got):
        head, _, body = got.partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" in head.lower():
            return body.endswith(b"0\r\n\r\n")
        (length,) = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
        return len(body) == length

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
            if status == 200 and self.is_whole(got):
                self.answered.append(Reply(got).headers["x-request-id"])
                if len(self.answered) == self.kill_after:
                    self.server.process.kill()
            return status
        finally:
            writer.close()

    async def run_all(self):
        rng = random.Random(5)
        counts = {"cut": 0}
        gate = asyncio.Semaphore(AT_ONCE)

        async def guarded(seed):
            async with gate:
                try:
                    one = random.Random(seed)
                    while await self.one(one, counts) == 429:  # a full queue: later again
                        await asyncio.sleep(one.random())
                except (OSError, IndexError):
                    if self.kill_after is None or len(self.answered) < self.kill_after:
                        raise

        await asyncio.gather(*(guarded(rng.random()) for _ in range(REQUESTS)))
        return counts

    def end(self):
        self.server.__exit__()

    def gauges(self, names):
        lines = self.server.request("GET", "/metrics").body.decode().splitlines()
        return {name: [line.split()[-1] for line in lines if line.startswith(name + "{")] for name in names}

    def test_nothing_is_left(self):
        self.start()
        # What the first request and the first look at the metrics open for good (a GPU's devices) is no leak.
        warm_up = {"model": MODEL, "max_tokens": 4, "messages": [{"role": "user", "content": "Hi"}]}
        reply = self.server.request("POST", "/v1/chat/completions", warm_up)
        self.assertEqual(reply.status, 200, reply)
        self.answered.append(reply.headers["x-request-id"])
        self.gauges(())
        before = self.server.descriptors()
        counts = asyncio.run(self.run_all())
        self.assertEqual(sum(counts.values()) - counts.get(429, 0), REQUESTS, counts)
        self.assertGreater(counts.get(200, 0), REQUESTS // 3, counts)
        idle = {name: ["0"] for name in ("vllm:kv_cache_usage_perc", "vllm:num_requests_running",
                                         "vllm:num_requests_waiting")}
        deadline = time.monotonic() + 60 * SLOWER
        while time.monotonic() < deadline:
            if self.server.descriptors() <= before and self.gauges(idle) == idle:
                break
            time.sleep(0.1)
        self.assertLessEqual(self.server.descriptors(), before, "descriptors of cut connections")
        self.assertEqual(self.gauges(idle), idle)
        # The queue has all its room again.
        ask = {"model": MODEL, "max_tokens": 4, "messages": [{"role": "user", "content": "Hi"}]}
        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            for reply in pool.map(lambda _: self.server.request("POST", "/v1/chat/completions", ask), range(64)):
                self.assertEqual(reply.status, 200, reply)
                self.answered.append(reply.headers["x-request-id"])
        accepted = sum(float(line.split()[-1]) for line in self.server.request("GET", "/metrics").body.decode().splitlines()
                       if line.startswith('realm_requests_total{status="') and not line.split('"')[1].isdigit())
        self.end()
        ids = self.rows()
        self.assertEqual(set(self.answered) - set(ids), set(), "answered and not in the ledger")
        # Of those cut off some were gone before they were read; of several choices some may have been let in
        # before the queue was full.
        self.assertEqual(len(ids), accepted)
        self.assertLessEqual(len(ids), counts[200] + 65 + counts["cut"] + counts.get(429, 0))
        print(f"{REQUESTS} requests: {counts}, {len(ids)} rows", flush=True)

    def test_killed_in_the_middle(self):
        """Rows are written before answers here: whatever was answered whole is in the ledger, once."""
        self.start("--usage-flush-ms", "0")
        self.kill_after = REQUESTS // 10
        asyncio.run(self.run_all())
        self.assertGreaterEqual(len(self.answered), self.kill_after)
        self.server.stop(ask=False)
        ids = self.rows()
        self.assertEqual(set(self.answered) - set(ids), set(), "answered and not in the ledger")
        self.start()
        reply = self.server.request("POST", "/v1/completions", {"model": MODEL, "max_tokens": 4, "prompt": "Hi"})
        self.assertEqual(reply.status, 200)
        self.end()
        self.assertEqual(len(self.rows()), len(ids) + 1)


if __name__ == "__main__":
    main()
