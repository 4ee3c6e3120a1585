"""The official OpenAI Node client: client.mjs says what it saw, a line for each check."""

import json
import pathlib
import subprocess

from server import MODEL, SLOWER, ServeTest, main

HERE = pathlib.Path(__file__).resolve().parent


class NodeTest(ServeTest):
    ARGS = ("--ctx", "1024")

    def test_openai_client(self):
        done = subprocess.run(["node", HERE / "client.mjs", self.server.base, MODEL], capture_output=True, text=True,
                              timeout=300 * SLOWER)
        checks = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(checks), 8)
        for check in checks:
            with self.subTest(check["name"]):
                self.assertIsNone(check["error"], check["error"])


if __name__ == "__main__":
    main()
