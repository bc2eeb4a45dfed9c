#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""pumice chat from outside, through a pipe and through a terminal. Usage: test_chat.py PUMICE MODEL.gguf.
Exits 77 (skip) without a device. What the model says is not judged, only what the program does with it."""
import contextlib
import json
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
import unittest

PUMICE = MODEL = ""
ENV = {}
TMP = pathlib.Path()


def chat(*args, stdin=b"", model=None):
    done = subprocess.run([PUMICE, "chat", model or MODEL, "--temp", "0", "-n", "8", *map(str, args)], input=stdin,
                          capture_output=True, env=ENV, timeout=300, check=False)
    return done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8")


class Pipe(unittest.TestCase):
    def transcript(self, *args, **more):
        code, out, err = chat("--json", *args, **more)
        self.assertEqual(code, 0, err)
        return json.loads(out)

    def test_turns_keep_the_cache(self):
        said = self.transcript("--system", "Be brief.", stdin="Once upon a time\nThe end\n".encode())
        roles = [m["role"] for m in said["messages"]]
        self.assertEqual(roles, ["system", "user", "assistant", "user", "assistant"])
        first, second = said["messages"][2], said["messages"][4]
        self.assertEqual(first["kept_tokens"], 0)
        self.assertGreater(second["prompt_tokens"], first["prompt_tokens"])
        # the first turn is evaluated once, whatever comes after it
        self.assertGreaterEqual(second["kept_tokens"], first["prompt_tokens"] - 1)
        self.assertLess(second["kept_tokens"], second["prompt_tokens"])
        self.assertIn(first["stop"], ("end", "length"))

    def test_once_and_prompt_are_one_turn(self):
        once = self.transcript("--once", stdin=b"two\nlines\n")
        self.assertEqual(once["messages"][0]["content"], "two\nlines")
        self.assertEqual(len(once["messages"]), 2)
        given = self.transcript("-p", "two\nlines")
        self.assertEqual(given["messages"], once["messages"])

    def test_undo_and_reset(self):
        a = self.transcript(stdin=b"one\n/undo\nthree\n")
        b = self.transcript(stdin=b"one\n/reset\nthree\n")
        c = self.transcript(stdin=b"three\n")
        texts = [[(m["role"], m["content"]) for m in t["messages"]] for t in (a, b, c)]
        self.assertEqual(texts[0], texts[2])
        self.assertEqual(texts[1], texts[2])

    def test_save(self):
        path = TMP / "talk.json"
        code, _, err = chat(stdin=f"hello\n/save {path}\n".encode())
        self.assertEqual(code, 0, err)
        saved = json.loads(path.read_text())
        self.assertEqual([m["role"] for m in saved], ["user", "assistant"])

    def test_a_file_that_cannot_be_written_ends_it(self):
        for line, words in (("/save /nonexistent/x", "/nonexistent/x"), ("/save", "name of a file")):
            code, out, err = chat("-q", stdin=f"{line}\nhello\n".encode())
            self.assertEqual((code, out), (1, ""), line)
            self.assertIn(words, err)
            self.assertEqual(len(err.strip().splitlines()), 1, err)

    def test_help_is_complete(self):
        code, _, err = chat("-q", stdin=b"/help\n")
        self.assertEqual(code, 0, err)
        self.assertEqual([line.split()[0] for line in err.splitlines()],
                         ["/help", "/reset", "/undo", "/save", "/quit"])

    def test_a_template_of_ones_own(self):
        path = TMP / "template.jinja"
        path.write_text("{% if shout %}{{ messages[0].content | upper }}{% else %}{{ messages[0].content }}{% endif %}")
        quiet = self.transcript("--template", path, "-p", "abc")
        loud = self.transcript("--template", path, "-p", "abc", "--variables", '{"shout": true}')
        self.assertNotEqual(quiet["messages"][1]["prompt_tokens"], 0)
        self.assertNotEqual((quiet["messages"][1]["content"], quiet["messages"][1]["prompt_tokens"]),
                            (loud["messages"][1]["content"], loud["messages"][1]["prompt_tokens"]))

    def test_failures_are_one_sentence(self):
        path = TMP / "bad.jinja"
        path.write_text("\n{{ raise_exception('not today') }}")
        for args, words in ((["--template", path, "-p", "x"], "line 2: not today"),
                            (["--variables", "[1]", "-p", "x"], "must be a JSON object"),
                            (["-c", "8", "-p", "x " * 40], "fills the context")):
            code, out, err = chat("-q", *args)
            self.assertEqual((code, out), (1, ""), args)
            self.assertIn(words, err)
            self.assertEqual(len(err.strip().splitlines()), 1, err)

    def test_without_a_tokenizer(self):
        def resized(data, key, change):  # the file's length, and so all offsets, must stay
            at = data.index(key) + len(key) + 4
            size = int.from_bytes(data[at:at + 8], "little")
            value = change(data[at + 8:at + 8 + size])
            return data[:at] + len(value).to_bytes(8, "little") + value + data[at + 8 + size:]
        path, whole = TMP / "mute.gguf", pathlib.Path(MODEL).read_bytes()
        data = resized(whole, b"tokenizer.ggml.model", lambda _: b"none")
        path.write_bytes(resized(data, b"general.name", lambda name: name + b"x" * (len(whole) - len(data))))
        code, out, err = chat("-q", "-p", "x", model=path)
        self.assertEqual((code, out), (1, ""))
        self.assertIn("mute.gguf", err)
        self.assertIn("without a tokenizer", err)
        self.assertEqual(len(err.strip().splitlines()), 1, err)

    def test_the_form_is_named_once(self):
        code, out, err = chat(stdin=b"a\nb\n")
        self.assertEqual(code, 0, err)
        self.assertEqual(err.count("the model has no chat template"), 1)
        self.assertGreaterEqual(out.count("\n"), 2)


class Terminal(unittest.TestCase):
    def open(self, *args):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(ENV, TERM="xterm")
            os.execv(PUMICE, [PUMICE, "chat", MODEL, "--temp", "0", *args])
        self.seen = b""

    def wait(self, pattern, seconds=200):
        end = time.monotonic() + seconds
        while not re.search(pattern, self.seen):
            self.assertLess(time.monotonic(), end, self.seen)
            if not select.select([self.fd], [], [], 0.5)[0]:
                continue
            try:
                self.seen += os.read(self.fd, 65536)
            except OSError:
                break
        match = re.search(pattern, self.seen)
        self.assertTrue(match, self.seen)
        self.seen = self.seen[match.end():]

    def send(self, text):
        os.write(self.fd, text)

    def save(self, path):
        """What /save writes. Typed again when nothing comes: what falls between two prompts may be lost, as the
        editor changes the terminal's mode there."""
        for _ in range(5):
            self.send(b"/save " + str(path).encode() + b"\n")
            end = time.monotonic() + 10
            while time.monotonic() < end:
                with contextlib.suppress(OSError, ValueError):
                    return json.loads(path.read_text())
                time.sleep(0.05)
        return self.fail("nothing is saved")

    def close(self, again=b""):
        """The exit code. `again` is typed once a second, for the same reason."""
        end, typed = time.monotonic() + 60, 0
        while time.monotonic() < end:
            if again and time.monotonic() > typed + 1:
                with contextlib.suppress(OSError):
                    self.send(again)
                typed = time.monotonic()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    os.read(self.fd, 65536)
                except OSError:
                    time.sleep(0.05)
        os.kill(self.pid, signal.SIGKILL)
        self.fail("the program does not end")

    def test_a_conversation(self):
        self.open("-n", "6")
        self.wait(rb"Ctrl-D ends")
        self.wait(rb"> ")
        self.send(b"/help\n")
        self.wait(rb"/undo")
        self.wait(rb"> ")
        self.send(b"Once upon a time\n")
        self.wait(rb"ChatML form is used")
        self.wait(rb"\n> ")
        self.send(b"\x03")  # at the prompt it ends nothing
        self.wait(rb"\(Ctrl-D ends\)\s+> ")
        self.send(b"/quit\n")
        self.assertEqual(self.close(), 0)

    def test_ctrl_c_stops_a_reply_only(self):
        path = TMP / "long.jinja"
        path.write_text("{{ messages[-1].content }}")  # a text, which the model goes on with
        self.open("--template", str(path), "-q")
        self.wait(rb"> ")
        self.send(b"Once upon a time\n")
        self.wait(rb"time[^>]*[a-z]{2}")
        self.send(b"\x03")
        self.wait(rb"\n> ")
        saved = self.save(TMP / "stopped.json")
        self.assertEqual(self.close(again=b"\x04"), 0)
        self.assertEqual([m["role"] for m in saved], ["user", "assistant"])
        self.assertIn(saved[1]["stop"], ("cancelled", "end", "context"))


def main():
    global PUMICE, MODEL, ENV, TMP
    PUMICE, MODEL = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        TMP = pathlib.Path(folder)
        ENV = {"XDG_CACHE_HOME": str(TMP / "cache"), **os.environ}
        found = subprocess.run([PUMICE, "devices", "--json"], capture_output=True, env=ENV, check=False)
        if found.returncode or not any(d["usable"] for d in json.loads(found.stdout)):
            print("skipped: no usable Vulkan device")
            sys.exit(77)
        unittest.main(argv=[sys.argv[0], *sys.argv[3:]])


if __name__ == "__main__":
    main()
