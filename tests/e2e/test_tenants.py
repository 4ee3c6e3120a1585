"""Tenants, keys and usage in a store file, as an operator administers them."""

import json
import re
import sqlite3
import stat
import unittest

from harness import DONE, FAILED, USAGE, RealmTest, environment, main, realm

KEY = re.compile(r"^rk_[0-9A-Za-z]{10}_[0-9A-Za-z]{43}\n$")


class StoreTest(RealmTest):
    def setUp(self):
        super().setUp()
        self.store = self.path("realm.db")

    def do(self, *args, **kwargs):
        return self.succeed(*args, "--store", self.store, **kwargs)

    def refuse(self, status, *args, says=()):
        return self.fail_with(status, *args, "--store", self.store, says=says)


class Tenants(StoreTest):
    def test_life_from_beginning_to_end(self):
        made = self.do("tenants", "create", "acme", "--weight", "2.5", "--tokens-per-day=1000", "--json").json()
        self.assertEqual((made["name"], made["weight"], made["tokens_per_day"], made["kv_pages"]),
                         ("acme", 2.5, 1000, -1))
        self.assertEqual([tenant["name"] for tenant in self.do("tenants", "list", "--json").json()],
                         ["acme", "default"])
        self.assertRegex(self.do("tenants", "list").text, r"acme +2\.5 ")
        self.do("tenants", "set", "acme", "--tokens-per-day", "-1", "--requests-per-minute", "5", "--suspend")
        shown = self.do("tenants", "show", "acme", "--json").json()
        self.assertEqual((shown["tokens_per_day"], shown["requests_per_minute"], shown["suspended"]), (-1, 5, True))
        self.assertIn("suspended", self.do("tenants", "show", "acme").text)
        self.do("tenants", "set", "acme", "--resume")
        self.do("tenants", "rm", "acme")
        self.refuse(FAILED, "tenants", "show", "acme", says=["acme"])

    def test_wrong_requests(self):
        self.do("tenants", "list") if self.store.exists() else self.do("tenants", "create", "first")
        for args, says in [(["create", "Big Corp"], "name"), (["create", "first"], "already"),
                           (["create"], "NAME"), (["list", "first"], "NAME"), (["set", "first"], "set"),
                           (["show", "first", "--weight", "2"], "quotas"), (["rm", "default"], "default"),
                           (["create", "x", "--weight", "0"], "weight"), (["create", "x", "--kv-pages", "1.5"], "kv_pages"),
                           (["create", "x", "--weight", "heavy"], "weight"), (["create", "x", "--wieght", "1"], "--weight"),
                           (["destroy", "first"], "destroy|ACTION")]:
            with self.subTest(args):
                self.refuse(USAGE, "tenants", *args, says=[says])
        self.refuse(FAILED, "tenants", "set", "nobody", "--weight", "2", says=["nobody"])
        self.assertEqual(len(self.do("tenants", "list", "--json").json()), 2)

    def test_a_store_is_not_made_by_looking(self):
        for command in (["tenants", "list"], ["keys", "list"], ["usage"]):
            with self.subTest(command):
                self.refuse(FAILED, *command, says=["realm.db", "no store"])
        self.assert_only()

    def test_a_file_that_is_no_store(self):
        self.store.write_bytes(b"Dear reader, this is a letter." * 1000)
        self.refuse(FAILED, "tenants", "create", "acme", says=["realm.db", "SQLite"])
        self.store.unlink()
        with sqlite3.connect(self.store) as other:
            other.execute("CREATE TABLE pictures (id INTEGER)")
        other.close()
        self.refuse(FAILED, "tenants", "create", "acme", says=["realm.db", "no store"])
        self.assert_only("realm.db")

    def test_the_usual_place(self):
        home = self.path("home")
        home.mkdir()
        env = environment(HOME=str(home))
        env.pop("XDG_DATA_HOME", None)
        self.succeed("tenants", "create", "acme", env=env)
        store = home / ".local" / "share" / "realm" / "realm.db"
        self.assertEqual(stat.S_IMODE(store.stat().st_mode), 0o600)
        self.assertIn("acme", self.succeed("tenants", "list", env=env).text)
        self.assertIn("acme", self.succeed("tenants", "list", env=environment(REALM_STORE=str(store))).text)


class Keys(StoreTest):
    def test_shown_once_kept_hashed(self):
        self.do("tenants", "create", "acme")
        outcome = self.do("keys", "create", "--tenant", "acme", "--name", "laptop", "--expires", "30d",
                          "--model", "a", "--model", "b")
        self.assertRegex(outcome.text, KEY)
        self.assertIn("once", outcome.err)
        key = outcome.text.strip()
        listed = self.do("keys", "list", "--json")
        (entry,) = listed.json()
        self.assertEqual(entry["prefix"], key[:13])
        self.assertEqual((entry["tenant"], entry["name"], entry["models"], entry["scopes"], entry["revoked_ms"]),
                         ("acme", "laptop", ["a", "b"], "inference", None))
        self.assertAlmostEqual(entry["expires_ms"] - entry["created_ms"], 30 * 86400_000, delta=60_000)
        for path in self.dir.iterdir():
            self.assertNotIn(key[14:].encode(), path.read_bytes(), path)
        self.assertNotIn(key[14:], listed.text + self.do("keys", "list").text)

    def test_revoke(self):
        prefixes = [self.do("keys", "create", "--json").json()["prefix"] for _ in range(3)]
        self.refuse(USAGE, "keys", "revoke", "rk_", says=["3 keys"])
        self.refuse(FAILED, "keys", "revoke", "rk_nobody", says=["rk_nobody"])
        self.refuse(USAGE, "keys", "revoke", says=["PREFIX"])
        self.assertIn(prefixes[1], self.do("keys", "revoke", prefixes[1]).text)
        states = {entry["prefix"]: entry["revoked_ms"] for entry in self.do("keys", "list", "--json").json()}
        self.assertEqual([states[prefix] is not None for prefix in prefixes], [False, True, False])
        self.assertRegex(self.do("keys", "list", prefixes[1]).text, "revoked")

    def test_wrong_requests(self):
        self.do("keys", "create", "--scopes", "admin,metrics")
        for args, says in [(["create", "--scopes", "root"], "root"), (["create", "--expires", "soon"], "soon"),
                           (["create", "--expires", "2001-01-01"], "past"), (["create", "--expires", "30x"], "30x"),
                           (["create", "rk_mine"], "PREFIX"), (["list", "--scopes", "admin"], "scopes"),
                           (["revoke", "rk_x", "--tenant", "a"], "tenant")]:
            with self.subTest(args):
                self.refuse(USAGE, "keys", *args, says=[says])
        self.refuse(FAILED, "keys", "create", "--tenant", "nobody", says=["nobody"])
        self.assertEqual(len(self.do("keys", "list", "--json").json()), 1)


class Usage(StoreTest):
    def setUp(self):
        super().setUp()
        self.do("tenants", "create", "acme")
        prefix = self.do("keys", "create", "--tenant", "acme", "--json").json()["prefix"]
        self.prefix = prefix
        with sqlite3.connect(self.store) as store:
            (key, tenant), = store.execute("SELECT id, tenant_id FROM keys")
            rows = [("r1", 1, 0, "tiny", 10, 5, "stop", 1764000000000), ("r2", tenant, key, "tiny", 20, 6, "length", 1764000000000),
                    ("r3", tenant, key, "large", 30, 7, "cancelled", 1764100000000)]
            store.executemany("INSERT INTO usage(request_id, tenant_id, key_id, model, adapter, prompt_tokens, cached_tokens, "
                              "generated_tokens, queue_us, run_us, outcome, arrived_ms) "
                              "VALUES (?, ?, ?, ?, '', ?, 0, ?, 250000, 1500000, ?, ?)", rows)
        store.close()

    def sums(self, *args):
        return [(*(row[name] for name in row if not name.endswith(("tokens", "seconds"))), row["generated_tokens"])
                for row in self.do("usage", *args, "--json").json()]

    def test_sums(self):
        self.assertEqual(self.sums(), [("acme", 2, 13), ("default", 1, 5)])
        self.assertEqual(self.sums("--by", "model,tenant"), [("large", "acme", 1, 7), ("tiny", "acme", 1, 6), ("tiny", "default", 1, 5)])
        self.assertEqual(self.sums("--by", "day"), [("2025-11-24", 2, 11), ("2025-11-25", 1, 7)])
        self.assertEqual(self.sums("--by", "key", "--tenant", "acme"), [(self.prefix, 2, 13)])
        self.assertEqual(self.sums("--by="), [(3, 18)])
        self.assertEqual(self.sums("--by=", "--since", "2025-11-25"), [(1, 7)])
        self.assertEqual(self.sums("--by=", "--until", "2025-11-24T16:00:00Z"), [(0, 0)])
        self.assertEqual(self.sums("--by=", "--until", "2025-11-24T16:00:01Z", "--key", self.prefix), [(1, 6)])
        row = self.do("usage", "--by=", "--json").json()[0]
        self.assertEqual((row["prompt_tokens"], row["queue_seconds"], row["run_seconds"]), (60, 0.75, 4.5))

    def test_table(self):
        lines = self.do("usage").text.splitlines()
        self.assertEqual(lines[0].split()[:3], ["tenant", "requests", "prompt_tokens"])
        self.assertEqual(lines[1].split()[:3], ["acme", "2", "50"])

    def test_wrong_requests(self):
        self.refuse(USAGE, "usage", "--by", "week", says=["week"])
        self.refuse(USAGE, "usage", "--since", "yesterday", says=["yesterday"])

    def test_a_removed_tenants_usage_stays(self):
        self.do("tenants", "rm", "acme")
        self.assertEqual(self.sums(), [("acme", 2, 13), ("default", 1, 5)])


class Server(StoreTest):
    def test_nobody_there(self):
        self.fail_with(FAILED, "tenants", "list", "--server", "http://127.0.0.1:9", says=["127.0.0.1:9", "no answer"])
        self.fail_with(FAILED, "usage", "--server", f"unix:{self.path('none.sock')}", says=["none.sock"])
        self.fail_with(FAILED, "keys", "list", "--server", "file:///etc/passwd", says=["file"])


if __name__ == "__main__":
    unittest.TestCase.maxDiff = None
    main()
