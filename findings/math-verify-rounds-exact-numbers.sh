#!/usr/bin/env bash
# math-verify 0.9.0: `verify` rounds where it need not: numbers that differ are equal, and a percent is its number.
#
# That decimals are compared to `float_rounding` digits (6) is documented. That these are decimals behind the point, so that
# .0000672 equals .0000668 and 1e-7 equals 2e-7, is easily missed; exact expressions are compared to 15 digits as well, so that
# sqrt(2) equals sqrt(2) + 10^-20; and 9% equals 9 as well as 0.09.
# Seen: "[True, True, True, True, True]".
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check install -q math-verify==0.9.0 latex2sympy2_extended==1.11.0 \
  antlr4-python3-runtime==4.13.2 sympy==1.14.0
cat > "$folder/seen.py" <<'PY'
from math_verify import parse, verify

pairs = [
    ("$.0000672$", "$.0000668$"),
    ("$0.0000001$", "$0.0000002$"),
    (r"$\sqrt{2}$", r"$\sqrt{2}+10^{-20}$"),
    (r"$9\%$", "$9$"),
    (r"$9\%$", "$0.09$"),
]
print([verify(parse(gold), parse(said)) for gold, said in pairs])
PY
seen=$("$folder/venv/bin/python" "$folder/seen.py")
echo "math-verify 0.9.0: $seen"
[ "$seen" = "[True, True, True, True, True]" ]
