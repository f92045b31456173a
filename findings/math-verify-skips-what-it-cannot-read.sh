#!/usr/bin/env bash
# math-verify 0.9.0: an answer is right by a part of it, and an answer that cannot be read is no answer, not even to itself.
#
# The README says that plain expressions are extracted beside LaTeX. Extraction keeps what a pattern finds and says nothing of the
# rest: 1e3 is 1, the list 12, 15 is 15, 3:4 is 3, the mixed number 1 4/5 is 4. In dollars, $12c$ is 12 and $52_8$ is 52, as a unit
# and a base are dropped, and $3R^2$ is $3r^2$. \frac12 and (1,2) without dollars give an empty list, which equals no other one.
# Seen: "1=1e3 15=12, 15 3=3:4 4=1 4/5 $12$=$12c$ $52$=$52_8$ $3r^2$=$3R^2$; not equal to themselves: \frac12 (1,2)".
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check install -q math-verify==0.9.0 latex2sympy2_extended==1.11.0 \
  antlr4-python3-runtime==4.13.2 sympy==1.14.0
cat > "$folder/seen.py" <<'PY'
from math_verify import parse, verify

pairs = [("1", "1e3"), ("15", "12, 15"), ("3", "3:4"), ("4", "1 4/5"), ("$12$", "$12c$"), ("$52$", "$52_8$"), ("$3r^2$", "$3R^2$")]
accepted = [f"{gold}={said}" for gold, said in pairs if verify(parse(gold), parse(said))]
unequal = [text for text in (r"\frac12", "(1,2)") if not verify(parse(text), parse(text))]
print(*accepted, end="; not equal to themselves: ")
print(*unequal)
PY
seen=$("$folder/venv/bin/python" "$folder/seen.py")
echo "math-verify 0.9.0: $seen"
[ "$seen" = '1=1e3 15=12, 15 3=3:4 4=1 4/5 $12$=$12c$ $52$=$52_8$ $3r^2$=$3R^2$; not equal to themselves: \frac12 (1,2)' ]
