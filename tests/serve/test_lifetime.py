"""Start, several models, TLS, unix sockets, limits, and the end."""

import json
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
import pathlib

from server import BIN, MODEL, SLOWER, Reply, Server, main

EMBEDDED = pathlib.Path(__file__).resolve().parent.parent.parent / "assets" / "realm-tiny.Q8_0.gguf"
CHAT = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0}


class LifetimeTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="realm-serve-")
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)

    def refused(self, *args):
        done = subprocess.run([BIN, "serve", "--port", "0", *args], capture_output=True, text=True,
                              timeout=60 * SLOWER)
        self.assertEqual(done.stdout, "")
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        return done.returncode, done.stderr

    def test_several_models(self):
        with Server("--ctx", "256", f"one={EMBEDDED}", f"two={MODEL}") as server:
            listed = server.request("GET", "/v1/models").json()["data"]
            self.assertEqual([model["id"] for model in listed], ["one", "two"])
            for name in ("one", "two"):
                reply = server.request("POST", "/v1/chat/completions", {**CHAT, "model": name})
                self.assertEqual(reply.json()["model"], name)
            reply = server.request("POST", "/v1/chat/completions", CHAT)
            self.assertEqual((reply.status, reply.json()["error"]["param"]), (400, "model"))

    def test_a_file_of_several_names_is_loaded_once(self):
        link = self.dir / "link.gguf"
        link.symlink_to(EMBEDDED)
        with Server("--ctx", "256", f"one,uno={EMBEDDED}", f"two={link}") as server:
            for name in ("one", "uno", "two"):
                reply = server.request("POST", "/v1/chat/completions", {**CHAT, "model": name, "max_tokens": 1})
                self.assertEqual(reply.json()["model"], "one")
            # No name is needed where there is one model.
            self.assertEqual(server.request("POST", "/v1/chat/completions", CHAT).status, 200)
            listed = [model["id"] for model in server.request("GET", "/v1/models").json()["data"]]
            self.assertEqual(listed, ["one", "uno", "two"])
            listed = [model["name"] for model in server.request("GET", "/api/tags").json()["models"]]
            self.assertEqual(listed, ["one", "uno", "two"])

    def test_the_configuration_file_names_models(self):
        config = self.dir / "realm.conf"
        config.write_text(f'model = ["tiny={EMBEDDED}"]\nctx = 256\n')
        with Server("--config", str(config)) as server:
            self.assertEqual(server.request("GET", "/v1/models").json()["data"][0]["id"], "tiny")

    def test_refuses_to_start(self):
        self.assertEqual(self.refused("--host", "0.0.0.0")[0], 2)
        self.assertEqual(self.refused("no-such.gguf")[0], 1)
        self.assertEqual(self.refused(f"a={EMBEDDED}", f"a={EMBEDDED}")[0], 2)
        self.assertEqual(self.refused("--tls-cert", "x")[0], 2)
        with Server("--ctx", "256") as server:
            status, words = self.refused("--port", str(server.port))
            self.assertEqual(status, 1)
            self.assertIn("cannot listen on", words)

    def test_unix_socket(self):
        path = self.dir / "realm.sock"
        with Server("--ctx", "256", "--unix", str(path)) as server:
            self.assertEqual(server.url, f"unix:{path}")
            self.assertEqual(path.stat().st_mode & 0o077, 0, "its owner's alone")
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(path))
                sock.sendall(b"GET /health HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n")
                self.assertEqual(Reply(sock.recv(4096)).status, 200)
        self.assertFalse(path.exists())

    def test_tls(self):
        cert, key = self.dir / "cert.pem", self.dir / "key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                        "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
        with Server("--ctx", "256", "--tls-cert", str(cert), "--tls-key", str(key)) as server:
            self.assertTrue(server.url.startswith("https://"))
            context = ssl.create_default_context(cafile=str(cert))
            body = json.dumps({**CHAT, "stream": True}).encode()
            with context.wrap_socket(server.connect(), server_hostname="localhost") as sock:
                sock.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                             f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
                got = b""
                while piece := sock.recv(65536):
                    got += piece
            self.assertTrue(Reply(got).body.endswith(b"data: [DONE]\n\n"))
            # Plain HTTP and an old TLS get nothing, and harm nobody.
            with self.assertRaises((ConnectionError, IndexError, ValueError)):
                if server.raw(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").status == 0:
                    raise ValueError("no HTTP came back")
            with context.wrap_socket(server.connect(), server_hostname="localhost") as sock:
                sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                self.assertIn(b"200 OK", sock.recv(4096))

    def test_running_requests_finish_on_sigterm(self):
        server = Server("--ctx", "512", "--drain-seconds", "200")
        replies = []
        ask = {**CHAT, "model": MODEL, "max_tokens": 200, "ignore_eos": True}
        threads = [threading.Thread(target=lambda: replies.append(server.request("POST", "/v1/chat/completions", ask)))
                   for _ in range(4)]
        idle = server.connect()
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 20 * SLOWER
        while server.descriptors() < 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        self.assertEqual([reply.status for reply in replies], [200] * 4)
        self.assertEqual({reply.json()["usage"]["completion_tokens"] for reply in replies}, {200})
        self.assertEqual(idle.recv(10), b"", "an idle connection is closed")
        idle.close()
        self.assertEqual(server.stop(ask=False), 0)

    def test_a_drain_has_an_end(self):
        server = Server("--ctx", "8192", "--drain-seconds", "0")
        with server.connect() as sock:
            body = json.dumps({**CHAT, "model": MODEL, "stream": True, "max_tokens": 8000,
                               "ignore_eos": True}).encode()
            sock.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: x.localhost\r\nContent-Length: {len(body)}"
                         "\r\n\r\n".encode() + body)
            self.assertIn(b"200 OK", sock.recv(4096))
            server.process.send_signal(signal.SIGTERM)
            got = b""
            while piece := sock.recv(65536):
                got += piece
        self.assertIn(b"the server is shutting down", got, "a stream that is cut says so")
        self.assertEqual(server.stop(ask=False), 0)

    def test_a_full_queue_is_429(self):
        with Server("--ctx", "2048", "--parallel", "1", "--queue", "1") as server:
            ask = json.dumps({**CHAT, "model": MODEL, "max_tokens": 1900, "ignore_eos": True, "stream": True}).encode()

            def send() -> socket.socket:
                sock = server.connect()
                sock.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(ask)}"
                             "\r\n\r\n".encode() + ask)
                return sock

            # The first runs once it gives a token; only then is the place in the queue free for the second.
            socks, got = [send()], b""
            while not re.search(rb'"content": *"[^"]', got):
                piece = socks[0].recv(65536)
                self.assertTrue(piece, got)
                got += piece
            socks.append(send())
            waiting = re.compile(rb"^vllm:num_requests_waiting\{[^}]*\} 1$", re.MULTILINE)
            deadline = time.monotonic() + 20 * SLOWER
            while not waiting.search(server.request("GET", "/metrics").body):
                self.assertLess(time.monotonic(), deadline, "the second never waited")
            last = server.request("POST", "/v1/chat/completions", {**CHAT, "model": MODEL})
            self.assertEqual(last.status, 429, last)
            self.assertGreaterEqual(int(last.headers["retry-after"]), 1)
            self.assertEqual(last.json()["error"]["type"], "rate_limit_error")
            for sock in socks:
                sock.close()


if __name__ == "__main__":
    main()
