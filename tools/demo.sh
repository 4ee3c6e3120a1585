#!/usr/bin/env bash
# What `make demo` shows: the embedded model answers a few questions, offline, with its speed.
set -euo pipefail
cd "$(dirname "$0")/.."
realm=build/realm

ask() {
  printf '\n\033[1m> %s\033[0m\n' "$1"
  printf '%s\n' "$1" | "$realm" run --temperature 0 --stats
}

echo "Realm answers from realm-tiny, the 28-million-parameter model inside the program."
ask "What is the capital of Portugal?"
ask "What currency do they have in Kuwait?"
ask "What is 17 plus 25?"
ask "How do you say 'bread' in French?"
ask "Tell me a short story about a fox."
printf '\nTry it yourself:  build/realm run            (a chat; /help lists its commands)\n'
printf '                  build/realm run MODEL.gguf (a model of your own)\n'
