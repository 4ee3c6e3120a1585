#!/usr/bin/env python3
"""Holds tests/template_cases.txt against the real thing: renders every case with transformers and
says where the file is wrong; --write corrects its "expect" sections. For whoever adds cases:

  python3 -m venv /tmp/venv && /tmp/venv/bin/pip install 'transformers>=5' jinja2
  /tmp/venv/bin/python tests/template_cases.py [--write]
"""

import argparse
import datetime
import json
import pathlib
import sys

import transformers.utils.chat_template_utils as chat_template_utils

FILE = pathlib.Path(__file__).with_name("template_cases.txt")
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
NOW = datetime.datetime(2025, 11, 24, 16, 0, 0, 123456)


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(*NOW.timetuple()[:6], NOW.microsecond)


def read_cases(lines):
    """[(name, {section: (first line, text)})], with the file's own first section under None."""
    cases = [(None, {})]
    section = start = None
    text = []

    def close():
        if section is not None:
            cases[-1][1][section] = (start, "\n".join(text))

    for number, line in enumerate(lines):
        if line.startswith("=== "):
            close()
            section = None
            cases.append((line[4:], {}))
        elif line.startswith("--- "):
            close()
            section, start, text = line[4:], number + 1, []
        elif section is not None:
            text.append(line)
    close()
    return cases


def render(source, sections, defaults):
    value = {name: json.loads(text) for name, (_, text) in sections.items()
             if name in ("messages", "tools", "documents", "variables")}
    messages = value.get("messages", [{"role": "user", "content": "Hi"}])
    # As PreTrainedTokenizerBase.apply_chat_template does before it renders.
    messages = [{key: item for key, item in message.items() if item is not None} for message in messages]
    rendered, _ = chat_template_utils.render_jinja_template(
        [messages], tools=value.get("tools"), documents=value.get("documents"), chat_template=source,
        add_generation_prompt="no_generation_prompt" not in sections,
        **{**TOKENS, **defaults, **value.get("variables", {})})
    return rendered[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    chat_template_utils.datetime = FixedClock
    lines = FILE.read_bytes().decode("utf-8").split("\n")[:-1]
    cases = read_cases(lines)
    defaults = json.loads(cases[0][1]["defaults"][1])
    sources = {name: sections["template"][1] for name, sections in cases[1:]}
    wrong = 0
    for name, sections in reversed(cases[1:]):  # from the end, so that line numbers stay right
        source = sources[name]
        if source.startswith("(as "):
            source = sources[source[4:-1]]
        try:
            result = render(source, sections, defaults)
        except Exception as error:  # pylint: disable=broad-except
            result = error
        expected = sections.get("expect")
        if expected is None:
            good = isinstance(result, Exception)
        else:
            good = result == expected[1]
            if not good and args.write and isinstance(result, str):
                start, old = expected
                lines[start:start + old.count("\n") + 1] = result.split("\n")
        if not good:
            wrong += 1
            print(f"{name}: transformers gives {result!r}")
    if args.write:
        FILE.write_bytes(("\n".join(lines) + "\n").encode("utf-8"))
    print(f"{len(cases) - 1} cases, {wrong} wrong")
    return 1 if wrong and not args.write else 0


if __name__ == "__main__":
    sys.exit(main())
