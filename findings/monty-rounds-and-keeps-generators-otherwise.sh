#!/usr/bin/env bash
# pydantic-monty 1.4.0: two results that differ from CPython's without an error.
#
# round(2.675, 2) is 2.68, where CPython gives 2.67 (2.675 is stored as 2.67499…); and a generator expression that has been
# used up is full again when it is looped over a second time. Seen: [2.68, [0, 1], [0, 1]]; CPython: [2.67, [0, 1], []].
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check install -q pydantic-monty==1.4.0
cat > "$folder/seen.py" <<'PY'
from pydantic_monty import Monty

piece = "g = (n for n in range(2))\nfirst = list(g)\n[round(2.675, 2), first, list(g)]"
with Monty(max_processes=1) as pool, pool.checkout() as session:
    print(session.feed_run(piece))
PY
seen=$("$folder/venv/bin/python" "$folder/seen.py")
echo "pydantic-monty 1.4.0: $seen"
[ "$seen" = "[2.68, [0, 1], [0, 1]]" ]
