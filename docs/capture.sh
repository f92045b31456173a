#!/bin/sh
# Prints the live tree of docs/parallel.toml as it is after SECONDS, at a width of COLUMNS: the pictures of the README.
# Usage: docs/capture.sh [COLUMNS [SECONDS]], with `thread` on the PATH; it needs tmux.
set -eu
unset COLUMNS LINES  # the terminal has a size of its own
cd "$(dirname "$0")/.."
columns=${1:-80} seconds=${2:-4}
socket=$(mktemp -u) folder=$(mktemp -d)
trap 'tmux -S "$socket" kill-server 2>/dev/null; rm -rf "$folder" "$socket"' EXIT
tmux -S "$socket" -f /dev/null new-session -d -x "$columns" -y 15 \
    "thread run none 'Which of these eight rivers is the longest?' --prompt parallel \
    --model scripted:docs/parallel.toml --display tree --log '$folder/run'; sleep 60"
until tmux -S "$socket" capture-pane -p | grep -q Danube; do sleep 0.1; done
sleep "$seconds"
tmux -S "$socket" capture-pane -p
