"""The command line itself: help, misspellings, wrong values, completion scripts."""

import re
import subprocess
import unittest

from harness import DONE, EMBEDDED, USAGE, RealmTest, main, realm

COMMANDS = ["run", "bench", "logits", "perplexity", "eval", "tokenize", "detokenize", "template", "inspect",
            "quantize", "imatrix", "convert", "synth", "tenants", "keys", "usage", "completion", "doctor"]


class Help(RealmTest):
    def test_lists_every_command(self):
        text = self.succeed("--help").text
        for command in COMMANDS:
            self.assertRegex(text, rf"(?m)^\s+{command}\b", f"{command} is not in realm --help")

    def test_each_command_explains_itself_and_ends_in_two_examples(self):
        for command in COMMANDS:
            with self.subTest(command):
                text = self.succeed(command, "--help").text
                examples = re.findall(rf"(?m)^\s*(?:\$ )?.*\brealm {command}\b.*$", text.split("Examples", 1)[-1])
                self.assertIn("Examples", text)
                self.assertGreaterEqual(len(examples), 2, text)

    def test_help_is_plain_text_without_a_terminal(self):
        self.assertNotIn("\x1b", self.succeed("--help").text)

    def test_version(self):
        self.assertRegex(self.succeed("--version").text, r"\b\d+\.\d+\.\d+\b")


class Wrong(RealmTest):
    def wrong(self, *args, says=()):
        return self.fail_with(USAGE, *args, says=says)

    def test_misspelt_command_gets_the_right_one_suggested(self):
        self.wrong("quantise", says=["quantise", "quantize"])
        self.wrong("tokenise", says=["tokenize"])

    def test_misspelt_option_gets_the_right_one_suggested(self):
        self.wrong("run", "--temprature", "0.5", says=["temprature", "--temperature"])
        self.wrong("logits", EMBEDDED, "--tokns", "1", says=["--tokens"])

    def test_nothing_asked(self):
        outcome = realm()
        self.assertEqual(outcome.status, USAGE)
        self.assertIn("run", outcome.err)

    def test_missing_arguments(self):
        self.wrong("quantize", EMBEDDED)
        self.wrong("logits", EMBEDDED, "--tokens", "1,2")
        self.wrong("convert")
        self.wrong("synth", self.path("x.gguf"))

    def test_values_out_of_range(self):
        for option, value in [("--temperature", "-1"), ("--temperature", "nan"), ("--temperature", "warm"),
                              ("--top-p", "1.5"), ("--min-p", "-0.1"), ("--threads", "0"), ("--threads", "-3"),
                              ("--ctx", "-1"), ("--ctx", "99999999999999999999"), ("-n", "many"),
                              ("--kv-type", "q9_9"), ("--backend", "abacus"), ("--compute", "int4"), ("--seed", "x")]:
            with self.subTest(option=option, value=value):
                self.wrong("run", EMBEDDED, "hi", f"{option}={value}" if option.startswith("--") else option,
                           *([] if option.startswith("--") else [value]), says=[option.lstrip("-")])

    def test_unknown_quantization_type(self):
        self.wrong("quantize", EMBEDDED, self.path("out.gguf"), "Q4_K_N", says=["Q4_K_N", "Q4_K_M"])
        self.assert_only()


class Completion(RealmTest):
    def test_scripts_parse_and_name_the_commands(self):
        for shell in ("bash", "zsh", "fish"):
            with self.subTest(shell):
                script = self.succeed("completion", shell).text
                for command in ("run", "quantize", "tokenize"):
                    self.assertIn(command, script)
        script = self.succeed("completion", "bash").out
        self.assertEqual(subprocess.run(["bash", "-n"], input=script).returncode, 0)

    def test_bash_completes_a_command(self):
        script = self.succeed("completion", "bash").text
        probe = script + '\nCOMP_WORDS=(realm quan); COMP_CWORD=1; COMP_LINE="realm quan"; COMP_POINT=10\n' \
                         'f=$(complete -p realm | sed -n "s/.*-F \\([^ ]*\\).*/\\1/p"); $f realm quan realm; ' \
                         'printf "%s\\n" "${COMPREPLY[@]}"\n'
        done = subprocess.run(["bash", "--norc"], input=probe.encode(), capture_output=True)
        self.assertEqual(done.stdout.decode().split(), ["quantize"], done.stderr.decode())

    def test_unknown_shell(self):
        self.fail_with(USAGE, "completion", "tcsh", says=["tcsh|bash"])


class Doctor(RealmTest):
    def test_reports_the_machine(self):
        outcome = self.succeed("doctor")
        self.assertEqual(outcome.status, DONE)
        self.assertTrue(outcome.text.strip())
        self.assertIsInstance(self.succeed("doctor", "--json").json(), dict)


if __name__ == "__main__":
    unittest.TestCase.maxDiff = None
    main()
