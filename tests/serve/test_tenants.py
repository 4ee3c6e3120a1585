"""Tenants on a running server: keys, quotas, the usage ledger, administration, metrics, spans, logs."""

import concurrent.futures
import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
import unittest

import server as serving
from server import BIN, SLOWER, Server, main

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

ASK = {"model": "realm-tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "temperature": 0}


class TenantTest(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="realm-tenants-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.store = self.dir / "realm.db"

    def realm(self, *args, status=0, stdin=None):
        env = {name: value for name, value in os.environ.items() if not name.startswith("REALM_")}
        env.update(NO_COLOR="1", HOME="/nonexistent")
        done = subprocess.run([os.fspath(BIN), *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=60 * SLOWER, env=env)
        self.assertEqual(done.returncode, status, f"realm {args}: {done.stderr}")
        return done.stdout

    def offline(self, *args):
        return self.realm(*args, "--store", self.store)

    def key(self, *args):
        return self.offline("keys", "create", *args).strip()

    def start(self, *args):
        server = Server("--store", str(self.store), *args)
        self.addCleanup(lambda: server.process.poll() is None and server.__exit__())
        return server

    def usage(self, *args):
        return json.loads(self.offline("usage", *args, "--json"))

    def integrity(self):
        with sqlite3.connect(self.store) as store:
            (answer,), = store.execute("PRAGMA integrity_check")
        store.close()
        return answer


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def admin_url(server):
    line = server.process.stdout.readline()
    assert line.startswith("administration on "), line
    return line.split()[-1]


class Keys(TenantTest):
    def test_the_key_decides(self):
        self.offline("tenants", "create", "acme")
        good = self.key("--tenant", "acme")
        metrics = self.key("--scopes", "metrics")
        narrow = self.key("--tenant", "acme", "--model", "other")
        server = self.start()
        chat = lambda headers: server.request("POST", "/v1/chat/completions", ASK, headers)
        self.assertEqual(chat(bearer(good)).status, 200)
        self.assertEqual(chat({"x-api-key": good}).status, 200)
        for headers, status in [({}, 401), (bearer("rk_nobody"), 401), (bearer(good[:-1] + "!"), 401), (bearer(metrics), 403),
                                (bearer(narrow), 404)]:
            reply = chat(headers)
            self.assertEqual(reply.status, status, reply)
            self.assertEqual(set(reply.json()["error"]), {"message", "type", "param", "code"})
            self.assertNotIn("acme", reply.body.decode())
        self.assertEqual(server.request("GET", "/health").status, 200)
        self.assertEqual(server.request("GET", "/v1/models").status, 401)
        self.assertEqual(server.request("GET", "/metrics", headers=bearer(good)).status, 403)
        self.assertEqual(server.request("GET", "/metrics", headers=bearer(metrics)).status, 200)
        # Another process revokes it; the server notices by itself.
        self.offline("keys", "revoke", good[:13])
        deadline = time.monotonic() + 20 * SLOWER
        while chat(bearer(good)).status == 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(chat(bearer(good)).status, 401)

    def test_without_keys_on_loopback_only(self):
        outcome = subprocess.run([os.fspath(BIN), "serve", "--host", "0.0.0.0", "--port", "0", "--store", self.store],
                                 stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60 * SLOWER,
                                 env={**os.environ, "HOME": "/nonexistent"})
        self.assertEqual(outcome.returncode, 2)
        self.assertIn("without keys", outcome.stderr)
        server = self.start()
        self.assertEqual(server.request("POST", "/v1/chat/completions", ASK).status, 200)
        self.assertTrue(any("no keys" in line for line in server.stderr))
        server.__exit__()
        self.assertEqual([(row["tenant"], row["requests"]) for row in self.usage()], [("default", 1)])


class Quotas(TenantTest):
    def test_429_with_retry_after(self):
        self.offline("tenants", "create", "small", "--requests-per-minute", "2")
        self.offline("tenants", "create", "large")
        small, large = self.key("--tenant", "small"), self.key("--tenant", "large")
        server = self.start()
        chat = lambda key, **changes: server.request("POST", "/v1/chat/completions", {**ASK, **changes}, bearer(key))
        self.assertEqual([chat(small).status for _ in range(3)], [200, 200, 429])
        refused = chat(small)
        self.assertEqual(refused.json()["error"]["code"], "rate_limit_exceeded")
        self.assertIn("requests_per_minute", refused.json()["error"]["message"])
        self.assertTrue(1 <= int(refused.headers["retry-after"]) <= 61, refused.headers)
        self.assertEqual(chat(large).status, 200)
        server.__exit__()
        # The counters are the ledger's: a restart opens nothing.
        server = self.start()
        self.assertEqual(chat(small).status, 429)
        self.assertEqual(chat(large).status, 200)
        self.assertEqual({row["tenant"]: row["requests"] for row in self.usage()}, {"small": 2, "large": 1})
        server.__exit__()
        self.assertEqual({row["tenant"]: row["requests"] for row in self.usage()}, {"small": 2, "large": 2})

    def test_tokens_are_reserved_and_given_back(self):
        self.offline("tenants", "create", "acme", "--tokens-per-minute", "400")
        key = self.key("--tenant", "acme")
        server = self.start()
        chat = lambda **changes: server.request("POST", "/v1/chat/completions", {**ASK, **changes}, bearer(key))
        # Each reserves most of the quota and uses little of it.
        for _ in range(3):
            reply = chat(max_tokens=250, stop=[" ", "\n", ".", ","])
            self.assertEqual(reply.status, 200, reply)
        self.assertEqual(chat(max_tokens=5000).json()["error"]["code"], "quota_too_small")
        del_max = {name: value for name, value in ASK.items() if name != "max_tokens"}
        reply = server.request("POST", "/v1/chat/completions", del_max, bearer(key))
        self.assertIn(reply.status, (200, 429), reply)
        if reply.status == 200:
            self.assertLessEqual(reply.json()["usage"]["total_tokens"], 400)


class Ledger(TenantTest):
    def test_rows_equal_requests(self):
        self.offline("tenants", "create", "acme")
        key = self.key("--tenant", "acme")
        server = self.start()
        expected = {"prompt_tokens": 0, "generated_tokens": 0}

        def ask(i):
            return server.request("POST", "/v1/chat/completions", {**ASK, "max_tokens": 1 + i % 7}, bearer(key)).json()

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for answer in pool.map(ask, range(40)):
                expected["prompt_tokens"] += answer["usage"]["prompt_tokens"]
                expected["generated_tokens"] += answer["usage"]["completion_tokens"]
        # Some whose client goes away.
        for _ in range(5):
            body = json.dumps({**ASK, "max_tokens": 500, "stream": True}).encode()
            with server.connect() as sock:
                sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + key.encode() +
                             b"\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                sock.recv(200)
        server.__exit__()  # SIGTERM: nothing is lost
        (row,) = self.usage()
        self.assertEqual(row["requests"], 45)
        rows = {row["outcome"]: row for row in self.usage("--by", "outcome")}
        ended = [rows[name] for name in ("stop", "length") if name in rows]
        self.assertGreaterEqual(sum(row["requests"] for row in ended), 40)
        self.assertGreaterEqual(sum(row["prompt_tokens"] for row in ended), expected["prompt_tokens"])
        self.assertGreaterEqual(row["generated_tokens"], expected["generated_tokens"])
        self.assertEqual(self.integrity(), "ok")

    def kill_in_the_middle(self, flush_ms):
        key = self.key()
        server = self.start("--usage-flush-ms", str(flush_ms))
        answered = []
        stop = threading.Event()

        def client():
            while not stop.is_set():
                try:
                    reply = server.request("POST", "/v1/chat/completions", ASK, bearer(key))
                except OSError:
                    return
                if reply.status == 200 and reply.body.endswith(b"}"):
                    answered.append(reply.headers["x-request-id"])

        threads = [threading.Thread(target=client) for _ in range(4)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60 * SLOWER
        while len(answered) < 20 and time.monotonic() < deadline:
            time.sleep(0.02)
        server.process.kill()
        stop.set()
        for thread in threads:
            thread.join()
        server.process.wait()
        server.process.stdout.close()
        server._reader.join()
        server.process.stderr.close()
        self.assertGreaterEqual(len(answered), 20)
        self.assertEqual(self.integrity(), "ok")
        with sqlite3.connect(self.store) as store:
            ids = [row[0] for row in store.execute("SELECT request_id FROM usage")]
        store.close()
        self.assertEqual(len(ids), len(set(ids)))
        return key, answered, ids

    def test_killed_in_the_middle_with_rows_before_answers(self):
        key, answered, ids = self.kill_in_the_middle(0)
        self.assertEqual(set(answered) - set(ids), set(), "answered and not in the ledger")
        server = self.start()
        self.assertEqual(server.request("POST", "/v1/chat/completions", ASK, bearer(key)).status, 200)
        server.__exit__()
        self.assertEqual(self.usage()[0]["requests"], len(ids) + 1)

    def test_killed_in_the_middle_with_batches(self):
        key, _, ids = self.kill_in_the_middle(50)
        server = self.start()
        self.assertEqual(server.request("POST", "/v1/chat/completions", ASK, bearer(key)).status, 200)
        server.__exit__()
        self.assertEqual(self.usage()[0]["requests"], len(ids) + 1)


class Administration(TenantTest):
    def setUp(self):
        super().setUp()
        self.admin = self.key("--scopes", "admin,metrics")
        self.server = self.start("--admin", "127.0.0.1:0")
        self.url = admin_url(self.server)

    def remote(self, *args, status=0):
        return self.realm(*args, "--server", self.url, "--admin-key", self.admin, status=status)

    def test_the_commands_work_on_the_server(self):
        made = json.loads(self.remote("tenants", "create", "acme", "--weight", "3", "--json"))
        self.assertEqual(made["weight"], 3)
        key = self.remote("keys", "create", "--tenant", "acme").strip()
        chat = lambda: self.server.request("POST", "/v1/chat/completions", ASK, bearer(key)).status
        self.assertEqual(chat(), 200)
        self.remote("tenants", "set", "acme", "--requests-per-minute", "1")
        self.assertEqual(chat(), 429)
        self.remote("tenants", "set", "acme", "--requests-per-minute", "-1", "--suspend")
        self.assertEqual(chat(), 403)
        self.remote("tenants", "set", "acme", "--resume")
        self.assertEqual(chat(), 200)
        self.remote("keys", "revoke", key[:13])
        self.assertEqual(chat(), 401)
        self.assertEqual(self.remote("tenants", "list", "--json"), self.offline("tenants", "list", "--json"))
        self.assertEqual(self.remote("keys", "list"), self.offline("keys", "list"))
        deadline = time.monotonic() + 20 * SLOWER
        while not any(row["requests"] == 2 for row in json.loads(self.remote("usage", "--json"))):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        self.remote("tenants", "show", "nobody", status=1)
        self.remote("tenants", "create", "acme", status=2)

    def test_only_administrators(self):
        plain = self.key()
        self.realm("tenants", "list", "--server", self.url, status=1)
        self.realm("tenants", "list", "--server", self.url, "--admin-key", plain, status=1)
        for path in ("/admin/tenants", "/admin/keys", "/admin/usage", "/admin/models"):
            self.assertEqual(self.server.request("GET", path, headers=bearer(self.admin)).status, 404,
                             "administration must not be on the public listener")

    def admin_call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        port = int(self.url.rsplit(":", 1)[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60 * SLOWER)
        connection.request(method, path, data, {**bearer(self.admin), "Content-Type": "application/json"})
        reply = connection.getresponse()
        text = reply.read()
        connection.close()
        return reply.status, json.loads(text)

    def wait_for_key(self, key):
        deadline = time.monotonic() + 20 * SLOWER
        while self.server.request("GET", "/v1/models", headers=bearer(key)).status != 200:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)

    def test_models_come_and_go(self):
        admin = self.admin_call
        key = self.key()
        names = lambda: [entry["id"] for entry in
                         self.server.request("GET", "/v1/models", headers=bearer(key)).json()["data"]]
        self.wait_for_key(key)
        self.assertEqual(names(), ["realm-tiny"])
        file = serving.ROOT / "assets" / "realm-tiny.Q8_0.gguf"
        status, made = admin("POST", "/admin/models", {"name": "second", "aliases": ["other"], "path": str(file)})
        self.assertEqual((status, made.get("name"), made.get("aliases")), (200, "second", ["other"]), made)
        self.assertEqual(names(), ["realm-tiny", "second", "other"])
        for body in ({"path": str(file)}, {"name": "third", "path": str(file)}, {"name": "x"}, {"path": 1},
                     {"path": "x.gguf", "aliases": [1]}, {"path": "x.gguf", "alias": "y"}):
            self.assertEqual(admin("POST", "/admin/models", body)[0], 400, body)
        self.assertEqual(admin("POST", "/admin/models", {"name": "second", "path": str(file)})[0], 400)
        self.assertEqual(admin("POST", "/admin/models", {"name": "third", "path": "/nonexistent.gguf"})[0], 404)
        ask = {**ASK, "model": "second"}
        self.assertEqual(self.server.request("POST", "/v1/chat/completions", ask, bearer(key)).status, 200)
        self.assertEqual(self.server.request("POST", "/v1/chat/completions", {**ask, "model": "other"},
                                             bearer(key)).json()["model"], "second")
        limited = self.key("--model", "other")
        self.wait_for_key(limited)
        self.assertEqual(self.server.request("POST", "/v1/chat/completions", ask, bearer(limited)).status, 200)
        self.assertEqual(admin("DELETE", "/admin/models/second")[0], 200)
        self.assertEqual(self.server.request("POST", "/v1/chat/completions", ask, bearer(key)).status, 404)
        self.assertEqual(names(), ["realm-tiny"])


    def test_prefixes_are_shared_only_once_published(self):
        admin = self.admin_call
        system = "You answer politely, briefly and truthfully, and you say so where you do not know. " * 12
        ask = {"messages": [{"role": "system", "content": system}, {"role": "user", "content": "Hi"}],
               "max_tokens": 1}
        keys = []
        for name in ("one", "two", "three", "four"):
            self.offline("tenants", "create", name)
            keys.append(self.key("--tenant", name))
        self.wait_for_key(keys[-1])

        def cached(key):
            reply = self.server.request("POST", "/v1/chat/completions", ask, bearer(key))
            return reply.json()["usage"]["prompt_tokens_details"]["cached_tokens"]

        self.assertEqual([cached(keys[0]), cached(keys[1])], [0, 0])
        self.assertGreater(cached(keys[0]), 100, "its own")
        status, made = admin("POST", "/admin/prefixes", {"name": "polite", "system": system})
        self.assertEqual(status, 200, made)
        self.assertEqual(admin("GET", "/admin/prefixes")[1], {"prefixes": [made]})
        self.assertEqual(cached(keys[2]), 0, "who computes it first")
        self.assertEqual(cached(keys[3]), made["shared_tokens"])
        for body in ({"name": "polite", "system": system}, {"name": "x", "system": system},
                     {"name": "x", "system": "short"}, {"name": "x"},
                     {"name": "x", "system": system, "text": system}, {"system": system},
                     {"name": "x", "text": system, "model": "none"}, {"name": "x", "text": system, "more": 1}):
            self.assertEqual(admin("POST", "/admin/prefixes", body)[0], 400, body)
        self.assertEqual(admin("DELETE", "/admin/prefixes/polite")[0], 200)
        self.assertEqual(admin("DELETE", "/admin/prefixes/polite")[0], 404)
        self.assertEqual(admin("GET", "/admin/prefixes")[1], {"prefixes": []})


# What the field's dashboards ask for (vLLM's and llama.cpp's names), and our own.
SERIES = """vllm:num_requests_running vllm:num_requests_waiting vllm:kv_cache_usage_perc vllm:lora_requests_info
vllm:prompt_tokens_total vllm:generation_tokens_total vllm:request_success_total vllm:num_preemptions_total
vllm:prefix_cache_queries_total vllm:prefix_cache_hits_total vllm:spec_decode_num_drafts_total
vllm:spec_decode_num_draft_tokens_total vllm:spec_decode_num_accepted_tokens_total
vllm:time_to_first_token_seconds vllm:inter_token_latency_seconds vllm:e2e_request_latency_seconds
vllm:request_queue_time_seconds vllm:request_prefill_time_seconds vllm:request_decode_time_seconds
vllm:request_prompt_tokens vllm:request_generation_tokens vllm:iteration_tokens_total
llamacpp:prompt_tokens_total llamacpp:prompt_seconds_total llamacpp:tokens_predicted_total
llamacpp:tokens_predicted_seconds_total llamacpp:requests_processing llamacpp:requests_deferred llamacpp:n_decode_total
llamacpp:n_busy_slots_per_decode realm_prompt_tokens_total realm_generated_tokens_total realm_requests_total
realm_queue_time_seconds realm_kv_pages realm_guest_cpu_seconds_total realm_quota_rejections_total""".split()


class Metrics(TenantTest):
    def scrape(self, server, key):
        reply = server.request("GET", "/metrics", headers=bearer(key))
        self.assertEqual(reply.status, 200)
        self.assertIn("version=0.0.4", reply.headers["content-type"])
        return reply.body.decode()

    def test_names_and_values(self):
        self.offline("tenants", "create", "acme", "--requests-per-minute", "3")
        key, metrics = self.key("--tenant", "acme"), self.key("--scopes", "metrics")
        server = self.start()
        answers = [server.request("POST", "/v1/chat/completions", ASK, bearer(key)) for _ in range(4)]
        self.assertEqual([answer.status for answer in answers], [200, 200, 200, 429])
        text = self.scrape(server, metrics)
        families = {line.split()[2]: line.split()[3] for line in text.splitlines() if line.startswith("# TYPE")}
        self.assertEqual(set(SERIES) - set(families), set())
        value = lambda name: float(re.search(rf"(?m)^{re.escape(name)} (\S+)$", text).group(1))
        prompt = sum(answer.json()["usage"]["prompt_tokens"] for answer in answers[:3])
        self.assertEqual(value('realm_prompt_tokens_total{tenant="acme"}'), prompt)
        self.assertEqual(value('realm_quota_rejections_total{quota="requests_per_minute",tenant="acme"}'), 1)
        model = 'engine="0",model_name="realm-tiny"'
        self.assertEqual(value(f"vllm:prompt_tokens_total{{{model}}}"), prompt)
        self.assertEqual(value(f"vllm:time_to_first_token_seconds_count{{{model}}}"), 3)
        self.assertEqual(value(f"vllm:request_prompt_tokens_sum{{{model}}}"), prompt)
        self.check_by_promtool(text)

    def check_by_promtool(self, text):
        """promtool's parser must take all of it. Its style check objects to names that are not ours to choose:
        to the colon of vLLM's and llama.cpp's, and to vLLM's histogram that ends in _total. Nothing else."""
        promtool = shutil.which("promtool")
        if promtool is None:
            if os.environ.get("REALM_TEST_BACKEND"):
                self.skipTest("promtool is not there: a GPU machine may reach no registry")
            self.fail("promtool is not there: tools/install_deps.sh test installs it")
        done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
        objections = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        ours = [line for line in objections
                if not re.match(r"(vllm|llamacpp):\S+ metric names should not contain ':'$", line)
                and not line.startswith("vllm:iteration_tokens_total non-counter metrics should not have \"_total\" suffix")]
        self.assertEqual(ours, [])
        self.assertIn(done.returncode, (0, 3), done.stderr)
        ours = "".join(line + "\n" for line in text.splitlines() if re.match(r"(# \w+ )?realm_", line))
        done = subprocess.run([promtool, "check", "metrics"], input=ours, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    def test_tenant_labels_are_bounded(self):
        keys = []
        for i in range(5):
            self.offline("tenants", "create", f"t{i}")
            keys.append(self.key("--tenant", f"t{i}"))
        metrics = self.key("--scopes", "metrics")
        server = self.start("--tenant-labels", "2")
        for key in keys:
            self.assertEqual(server.request("POST", "/v1/chat/completions", ASK, bearer(key)).status, 200)
        text = self.scrape(server, metrics)
        self.assertEqual(set(re.findall(r'realm_requests_total\{.*tenant="([^"]+)"', text)), {"t0", "t1", "other"})


class Collector(http.server.ThreadingHTTPServer):
    """An OpenTelemetry collector that keeps what it gets, after `delay` seconds."""

    def __init__(self, delay=0.0):
        self.bodies, self.delay, self.release = [], delay, threading.Event()
        super().__init__(("127.0.0.1", 0), CollectorHandler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def spans(self):
        spans = []
        for body in self.bodies:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    spans += [(resource.resource, span) for span in scope.spans]
        return spans


class CollectorHandler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.delay:
            self.server.release.wait(self.server.delay)
        if self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf":
            self.server.bodies.append(body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args):
        pass


class Observability(TenantTest):
    TRACE = "0af7651916cd43dd8448eb211c80319c"
    PARENT = "b7ad6b7169203331"

    def test_spans_follow_the_clients_trace(self):
        collector = Collector()
        self.addCleanup(collector.server_close)
        self.addCleanup(collector.shutdown)
        server = self.start("--otlp-endpoint", collector.url)
        reply = server.request("POST", "/v1/chat/completions", ASK, {"traceparent": f"00-{self.TRACE}-{self.PARENT}-01"})
        server.request("POST", "/v1/chat/completions", ASK, {"traceparent": f"00-{self.TRACE}-{self.PARENT}-00"})
        server.request("POST", "/v1/chat/completions", ASK)
        server.__exit__()  # what waits is sent at the end
        spans = collector.spans()
        mine = [span for _, span in spans if span.trace_id.hex() == self.TRACE]
        self.assertEqual(sorted(span.name for span in mine), ["decode", "generate realm-tiny", "prefill", "queue"])
        self.assertEqual(len(spans), 8, "the unsampled request has none, the one without a trace its own")
        root = next(span for span in mine if span.name.startswith("generate"))
        self.assertEqual(root.parent_span_id.hex(), self.PARENT)
        self.assertEqual(root.kind, 2)
        self.assertLess(root.start_time_unix_nano, root.end_time_unix_nano)
        attributes = {entry.key: entry.value for entry in root.attributes}
        self.assertEqual(attributes["gen_ai.request.model"].string_value, "realm-tiny")
        self.assertEqual(attributes["gen_ai.response.id"].string_value, reply.headers["x-request-id"])
        self.assertEqual(attributes["gen_ai.usage.input_tokens"].int_value, reply.json()["usage"]["prompt_tokens"])
        for span in mine:
            if span is not root:
                self.assertEqual(span.parent_span_id, root.span_id)
        resource = {entry.key: entry.value.string_value for entry in spans[0][0].attributes}
        self.assertEqual(resource["service.name"], "realm")

    def test_a_collector_that_hangs_holds_nothing_up(self):
        collector = Collector(delay=600)
        self.addCleanup(collector.server_close)
        self.addCleanup(collector.shutdown)
        self.addCleanup(collector.release.set)
        server = self.start("--otlp-endpoint", collector.url)
        for _ in range(5):
            self.assertEqual(server.request("POST", "/v1/chat/completions", ASK).status, 200)
        collector.release.set()

    def test_log_lines_are_json_without_prompts(self):
        secret = "the quick brown secret"
        server = self.start("--log-format", "json", "--log-level", "info")
        body = {**ASK, "messages": [{"role": "user", "content": secret}]}
        reply = server.request("POST", "/v1/chat/completions", body, {"traceparent": f"00-{self.TRACE}-{self.PARENT}-01"})
        server.__exit__()
        lines = [json.loads(line) for line in server.stderr if line.startswith("{")]
        (line,) = [line for line in lines if line.get("event") == "request"]
        self.assertEqual((line["request_id"], line["tenant"], line["trace_id"], line["level"]),
                         (reply.headers["x-request-id"], "default", self.TRACE, "info"))
        self.assertEqual(line["prompt_tokens"], reply.json()["usage"]["prompt_tokens"])
        self.assertNotIn(secret, "".join(server.stderr))
        self.assertRegex(line["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")


if __name__ == "__main__":
    main()
