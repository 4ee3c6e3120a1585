"""Outputs appear whole or not at all: full disks, forbidden folders, interruptions, devices."""

import contextlib
import os
import pathlib
import resource
import signal
import stat
import subprocess
import time
import unittest

import tiny_model
from harness import BIN, EMBEDDED, FAILED, INTERRUPTED, RealmTest, environment, main, realm


@contextlib.contextmanager
def small_disk(folder: pathlib.Path, size: str):
    """A tmpfs that is nearly full from the start; where mounting is not allowed the test is skipped."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "realm-test", str(folder)],
                             capture_output=True)
    if mounted.returncode != 0:
        raise unittest.SkipTest("mounting a small disk is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def limit_file_size(count: int):
    """In the child: writes past `count` bytes of a file fail, as on a full disk, without killing it."""
    def apply():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (count, count))
    return {"preexec_fn": apply, "restore_signals": False}


class OutputFiles(RealmTest):
    def setUp(self):
        super().setUp()
        self.model = self.write("model.gguf", tiny_model.make().bytes())
        self.text = self.write("text.txt", "The quick brown fox jumps over the lazy dog. " * 40)

    def writers(self, folder: pathlib.Path):
        """Every command that writes a file, writing well over 4 KiB."""
        tokens = ",".join(str(5 + i % 100) for i in range(64))
        return [["logits", self.model, "--tokens", tokens, "-o", folder / "out"],
                ["quantize", self.model, folder / "out", "Q8_0"],
                ["imatrix", self.model, "-f", self.text, "--ctx", "64", "-o", folder / "out"],
                ["synth", folder / "out", "--preset", "tinyllama", "--layers", "1", "--type", "Q4_0"]]

    def test_each_writes(self):
        for command in self.writers(self.dir):
            with self.subTest(command[0]):
                self.succeed(*command)
                self.assertGreater(self.path("out").stat().st_size, 4096)
                self.assertEqual(stat.S_IMODE(self.path("out").stat().st_mode) & 0o600, 0o600)
                self.assert_only("model.gguf", "out", "text.txt")
                self.path("out").unlink()

    def test_full_disk(self):
        with small_disk(self.path("disk"), "4k") as disk:
            for command in self.writers(disk):
                with self.subTest(command[0]):
                    self.fail_with(FAILED, *command, says=["out", "no space|full"])
                    self.assertEqual(list(disk.iterdir()), [])

    def test_file_size_limit(self):
        for command in self.writers(self.dir):
            with self.subTest(command[0]):
                self.fail_with(FAILED, *command, says=["out"], **limit_file_size(4096))
                self.assert_only("model.gguf", "text.txt")

    def test_an_output_that_was_there_survives_a_failure(self):
        kept = self.write("out", "precious")
        for command in self.writers(self.dir):
            with self.subTest(command[0]):
                self.fail_with(FAILED, *command, **limit_file_size(4096))
                self.assertEqual(kept.read_text(), "precious")
                self.assert_only("model.gguf", "out", "text.txt")

    def test_folder_that_is_not_there(self):
        for command in self.writers(self.path("absent")):
            with self.subTest(command[0]):
                self.fail_with(FAILED, *command, says=["absent"])

    def test_output_on_a_folder(self):
        self.path("out").mkdir()
        for command in self.writers(self.dir):
            with self.subTest(command[0]):
                self.fail_with(FAILED, *command, says=["out"])
                self.assertEqual(list(self.path("out").iterdir()), [])

    def test_a_full_device(self):
        self.fail_with(FAILED, "logits", self.model, "--tokens", "1,2,3", "-o", "/dev/full", says=["/dev/full"])
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/full").st_mode))

    def test_results_that_stdout_cannot_take(self):
        for command in (["tokenize", self.model, "hello"], ["inspect", self.model], ["run", self.model, "hi", "-n", "3"]):
            with self.subTest(command[0]), open("/dev/full", "wb") as full:
                outcome = realm(*command, stdout=full)
                self.assertEqual(outcome.status, FAILED, outcome.err)
                self.assertRegex(outcome.err, "(?i)no space|cannot write|output")

    def test_input_and_output_are_one_file(self):
        before = self.model.read_bytes()
        outcome = realm("quantize", self.model, self.model, "Q8_0")
        if outcome.status == 0:
            self.assertNotEqual(self.model.read_bytes(), before)
        else:
            self.assertEqual(self.model.read_bytes(), before)
        self.succeed("inspect", self.model)


class Interrupted(RealmTest):
    def bytes_begun(self, pid: int) -> int:
        """Of the file that the process is writing in self.dir, which has no name of its own until it is whole."""
        for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            try:
                if os.readlink(entry).startswith(str(self.dir)):
                    return entry.stat().st_size
            except FileNotFoundError:  # closed meanwhile
                continue
        return 0

    def test_ctrl_c_leaves_nothing_behind(self):
        out = self.path("out.gguf")
        process = subprocess.Popen([str(BIN), "synth", str(out), "--preset", "llama-8b", "--type", "Q8_0"],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=environment())
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.kill)
        deadline = time.monotonic() + 60
        while not self.bytes_begun(process.pid) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertGreater(self.bytes_begun(process.pid), 0, "the command did not begin to write")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(60), INTERRUPTED)
        self.assert_only()

    def test_a_reader_that_goes_away(self):
        process = subprocess.Popen([str(BIN), "inspect", "--tensors", str(EMBEDDED)], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        process.stdout.close()
        error = process.stderr.read().decode()
        process.stderr.close()
        process.wait(60)
        self.assertNotIn("internal error", error)


if __name__ == "__main__":
    main()
