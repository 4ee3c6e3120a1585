"""`realm run`: answers, seeds, stops, statistics, pipes, chats."""

import json
import os
import pty
import select
import signal
import subprocess
import time

from harness import BIN, EMBEDDED, INTERRUPTED, SANITIZED, USAGE, RealmTest, environment, main

QUESTION = "What is the capital of Portugal?"


class Run(RealmTest):
    def answer(self, *args, **kwargs) -> str:
        return self.succeed("run", *args, **kwargs).text

    def test_the_embedded_model_answers_from_a_pipe(self):
        outcome = self.succeed("run", "--temperature", "0", stdin=QUESTION + "\n")
        self.assertIn("Lisbon", outcome.text)
        self.assertTrue(outcome.text.endswith("\n"))
        self.assertNotIn("<|im_end|>", outcome.text)
        self.assertNotIn("\x1b", outcome.text)

    def test_argument_and_pipe_agree(self):
        self.assertEqual(self.answer(EMBEDDED, QUESTION, "--temperature", "0"),
                         self.answer(EMBEDDED, "--temperature", "0", stdin=QUESTION))

    def test_an_empty_prompt_says_what_a_word_alone_was_taken_for(self):
        self.fail_with(USAGE, "run", "hi", stdin="", says=["the prompt is empty", "'hi' is the model"])

    def test_same_seed_same_text(self):
        options = ["--temperature", "1.5", "-n", "30"]
        story = "Tell me a short story about a fox."
        first = self.answer(EMBEDDED, story, "--seed", "11", *options)
        self.assertEqual(self.answer(EMBEDDED, story, "--seed", "11", *options), first)
        self.assertEqual(self.answer(EMBEDDED, story, "--seed", "11", "--threads", "1", *options), first)
        others = {self.answer(EMBEDDED, story, "--seed", str(seed), *options) for seed in (12, 13, 14)}
        self.assertNotEqual(others, {first})

    def test_json(self):
        result = self.succeed("run", EMBEDDED, QUESTION, "--temperature", "0", "--json").json()
        self.assertIn("Lisbon", json.dumps(result))
        self.assertEqual(result["finish_reason"], "stop")
        cut = self.succeed("run", EMBEDDED, QUESTION, "--temperature", "0", "-n", "3", "--json").json()
        self.assertEqual(cut["finish_reason"], "length")

    def test_limits(self):
        long = self.answer(EMBEDDED, QUESTION, "--temperature", "0")
        short = self.answer(EMBEDDED, QUESTION, "--temperature", "0", "-n", "2").strip()
        self.assertTrue(long.startswith(short))
        self.assertLess(len(short), len(long.strip()))

    def test_stop_strings_never_show(self):
        text = self.answer(EMBEDDED, QUESTION, "--temperature", "0", "--stop", "Portugal")
        self.assertNotIn("Portugal", text)
        self.assertTrue(self.answer(EMBEDDED, QUESTION, "--temperature", "0").startswith(text.rstrip("\n")))

    def test_stats_go_to_stderr(self):
        outcome = self.succeed("run", EMBEDDED, QUESTION, "--temperature", "0", "--stats")
        self.assertRegex(outcome.err, r"\d.*tok/s")
        self.assertNotIn("tok/s", outcome.text)

    def test_kv_types_answer_alike(self):
        answers = {self.answer(EMBEDDED, QUESTION, "--temperature", "0", "--kv-type", kind)
                   for kind in ("f32", "f16", "bf16", "q8_0", "fp8")}
        self.assertEqual(len(answers), 1, answers)

    def test_system_prompt_reaches_the_model(self):
        plain = self.answer(EMBEDDED, "Tell me a story.", "--temperature", "0", "-n", "40")
        told = self.answer(EMBEDDED, "Tell me a story.", "--temperature", "0", "-n", "40", "--system", "Talk of dogs only.")
        self.assertNotEqual(plain, told)

    def test_settings_from_the_environment(self):
        env = environment(REALM_TEMPERATURE="0")
        self.assertEqual(self.answer(EMBEDDED, QUESTION, env=env), self.answer(EMBEDDED, QUESTION, "--temperature", "0"))
        self.fail_with(2, "run", EMBEDDED, QUESTION, env=environment(REALM_TEMPERATURE="hot"),
                       says=["REALM_TEMPERATURE"])

    def test_interrupted(self):
        process = subprocess.Popen([str(BIN), "run", str(EMBEDDED), "Tell me a long story about a fox.", "-n", "2000",
                                    "--temperature", "1.2", "--logit-bias", '{"2": -100, "0": -100}'],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=environment())
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60 * (10 if SANITIZED else 1))
        self.assertEqual(process.returncode, INTERRUPTED)


class Chat(RealmTest):
    """A chat on a terminal: the program gets a pseudo-terminal and keys."""

    def setUp(self):
        super().setUp()
        controller, terminal = pty.openpty()
        self.terminal = controller
        # A terminal of its own makes Ctrl-C a signal to the program and to nothing else.
        self.process = subprocess.Popen([str(BIN), "run", "--temperature", "0"], stdin=terminal, stdout=terminal,
                                        stderr=terminal, env=environment(TERM="xterm", HOME=str(self.dir)),
                                        start_new_session=True, preexec_fn=lambda: _take_terminal(terminal))
        os.close(terminal)
        self.addCleanup(os.close, controller)
        self.addCleanup(self.process.wait)
        self.addCleanup(self.process.kill)
        self.seen = ""

    def wait_for(self, text: str, seconds: float = 60):
        deadline = time.monotonic() + seconds * (10 if SANITIZED else 1)
        while text not in self.seen:
            left = deadline - time.monotonic()
            self.assertGreater(left, 0, f"waited for {text!r}, saw {self.seen!r}")
            if select.select([self.terminal], [], [], left)[0]:
                try:
                    self.seen += os.read(self.terminal, 65536).decode("utf-8", errors="replace")
                except OSError:
                    self.fail(f"the program ended; waited for {text!r}, saw {self.seen!r}")

    def type(self, text: str):
        self.seen = ""
        os.write(self.terminal, text.encode())

    def finish(self) -> int:
        deadline = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self.terminal], [], [], 0.05)[0]:
                try:
                    os.read(self.terminal, 65536)
                except OSError:
                    break
        return self.process.wait(60)

    def test_remembers_and_leaves(self):
        self.wait_for(">")
        self.type("My name is Anna.\r")
        self.wait_for(">")
        self.type("What is the capital of Portugal?\r")
        self.wait_for("Lisbon")
        self.type("/help\r")
        self.wait_for("/")
        self.type("\x04")
        self.assertEqual(self.finish(), 0)

    def test_ctrl_c_stops_the_answer_and_not_the_program(self):
        self.wait_for(">")
        self.type("Tell me a long story about a fox and a dog.\r")
        time.sleep(0.3)
        self.type("\x03")
        self.wait_for(">")
        self.type("What is the capital of Portugal?\r")
        self.wait_for("Lisbon")
        self.type("\x04")
        self.assertEqual(self.finish(), 0)


def _take_terminal(fd: int) -> None:
    import fcntl
    import termios
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)


if __name__ == "__main__":
    main()
