"""/v1/ws by a third-party client (websockets): many requests on one connection."""

import json
import time

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from server import MODEL, SLOWER, ServeTest, main

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


class WebSocketTest(ServeTest):
    ARGS = ("--ctx", "2048")

    def open(self):
        sock = connect(f"ws://127.0.0.1:{self.server.port}/v1/ws", open_timeout=30 * SLOWER, compression=None)
        self.addCleanup(sock.close)
        return sock

    def receive(self, sock):
        return json.loads(sock.recv(timeout=60 * SLOWER))

    def create(self, sock, id_, **fields):
        request = {"model": MODEL, "messages": QUESTION, "temperature": 0, **fields}
        sock.send(json.dumps({"type": "create", "id": id_, "request": request}))

    def finish(self, sock, ids):
        """Text, and the last message, by id, until all of `ids` have ended."""
        texts, ends = {id_: "" for id_ in ids}, {}
        while len(ends) < len(ids):
            message = self.receive(sock)
            if message["type"] == "delta":
                texts[message["id"]] += message["text"]
            else:
                ends[message["id"]] = message
        return texts, ends

    def test_one_request(self):
        sock = self.open()
        self.create(sock, "a")
        texts, ends = self.finish(sock, ["a"])
        self.assertIn("Paris", texts["a"])
        self.assertEqual(ends["a"]["type"], "done")
        self.assertEqual(ends["a"]["choices"], [{"index": 0, "finish_reason": "stop"}])
        self.assertGreater(ends["a"]["usage"]["completion_tokens"], 1)

    def test_many_at_once(self):
        sock = self.open()
        ids = [f"r{i}" for i in range(20)]
        for id_ in ids:
            self.create(sock, id_, max_tokens=8)
        texts, ends = self.finish(sock, ids)
        self.assertEqual(len(set(texts.values())), 1)
        self.assertEqual({end["type"] for end in ends.values()}, {"done"})

    def test_an_id_can_be_used_again(self):
        sock = self.open()
        for _ in range(3):
            self.create(sock, "a", max_tokens=2)
            self.finish(sock, ["a"])

    def test_cancel(self):
        sock = self.open()
        self.create(sock, "long", max_tokens=1900, ignore_eos=True)
        self.assertEqual(self.receive(sock)["type"], "delta")
        sock.send(json.dumps({"type": "cancel", "id": "long"}))
        message = self.receive(sock)
        while message["type"] == "delta":
            message = self.receive(sock)
        self.assertEqual(message, {"type": "cancelled", "id": "long"})
        self.create(sock, "next", max_tokens=2)
        self.finish(sock, ["next"])
        sock.send(json.dumps({"type": "cancel", "id": "never there"}))

    def test_ping(self):
        sock = self.open()
        sock.send('{"type": "ping"}')
        self.assertEqual(self.receive(sock), {"type": "pong"})
        self.assertTrue(sock.ping().wait(timeout=30 * SLOWER))

    def test_errors_leave_the_connection_open(self):
        sock = self.open()
        for text, id_, param in (("{", None, None), ("[]", None, None), ('{"type": "create"}', None, "id"),
                                 ('{"type": "dance", "id": "a"}', "a", "type"),
                                 ('{"type": "create", "id": "a"}', "a", "request"),
                                 ('{"type": "create", "id": "a", "request": {"messages": []}}', "a", "messages"),
                                 ('{"type": "create", "id": "a", "request": {"n": 0, "messages": '
                                  '[{"role": "user", "content": "x"}]}}', "a", "n"),
                                 ('{"type": "create", "id": "' + "x" * 200 + '", "request": {}}', "x" * 200, "id"),
                                 ('{"type": "ping", "surprise": 1}', None, "surprise")):
            sock.send(text)
            message = self.receive(sock)
            self.assertEqual((message["type"], message["id"], message["error"]["param"]), ("error", id_, param), text)
        sock.send('{"type": "ping"}')
        self.assertEqual(self.receive(sock), {"type": "pong"})

    def test_an_id_in_use_is_refused(self):
        sock = self.open()
        self.create(sock, "a", max_tokens=1900, ignore_eos=True)
        self.create(sock, "a")
        message = self.receive(sock)
        while message["type"] == "delta":
            message = self.receive(sock)
        self.assertEqual((message["type"], message["error"]["param"]), ("error", "id"))

    def test_a_slow_reader_slows_its_request_alone(self):
        slow = self.open()
        self.create(slow, "slow", max_tokens=1900, ignore_eos=True, n=16, logprobs=True, top_logprobs=20)
        quick = self.open()
        self.create(quick, "quick", max_tokens=4)
        texts, _ = self.finish(quick, ["quick"])
        self.assertTrue(texts["quick"])
        slow.close()

    def test_oversize_and_binary_messages_end_it(self):
        sock = self.open()
        sock.send(b"\x00\x01")
        with self.assertRaises(ConnectionClosed) as caught:
            self.receive(sock)
        self.assertEqual(caught.exception.rcvd.code, 1003)
        sock = self.open()
        with self.assertRaises(ConnectionClosed):
            sock.send("x" * (5 << 20))
            self.receive(sock)

    def test_no_websocket_elsewhere(self):
        for path in ("/health", "/v1/models", "/nothing"):
            with self.assertRaises(InvalidStatus):
                connect(f"ws://127.0.0.1:{self.server.port}{path}", open_timeout=30 * SLOWER)
        self.assertEqual(self.server.request("GET", "/v1/ws").status, 426)

    def test_gone_clients_leave_nothing(self):
        before = self.server.descriptors()
        for _ in range(10):
            sock = connect(f"ws://127.0.0.1:{self.server.port}/v1/ws", open_timeout=30 * SLOWER)
            self.create(sock, "a", max_tokens=1900, ignore_eos=True)
            self.receive(sock)
            sock.socket.close()
        deadline = time.monotonic() + 30 * SLOWER
        while self.server.descriptors() > before and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertLessEqual(self.server.descriptors(), before)


if __name__ == "__main__":
    main()
