#!/usr/bin/env bash
# pdoc 16.0.0: in a module with `from __future__ import annotations`, the fields of a `typing.NamedTuple` whose types are imported
# cannot be resolved; those of a dataclass with the same fields are.
#
# Python makes the constructor of a named tuple in a namespace of its own, which has none of the module's names, and pdoc documents
# that constructor as `__init__`. So it warns of every field, though the names are imported at run time, and the signature keeps the
# types as bare text without links. A build that turns pdoc's warnings into errors breaks when a dataclass becomes a named tuple.
# Seen: "named tuple: 2 warnings, dataclass: 0 warnings".
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check install -q pdoc==16.0.0
for kind in tuple dataclass; do
  {
    echo 'from __future__ import annotations'
    echo 'from dataclasses import dataclass'
    echo 'from pathlib import Path'
    echo 'from typing import Literal, NamedTuple'
    [ "$kind" = tuple ] && echo 'class Place(NamedTuple):' || printf '@dataclass\nclass Place:\n'
    echo '    """A place."""'
    echo '    path: Path'
    echo '    kind: Literal["file", "folder"] = "file"'
  } > "$folder/of_a_$kind.py"
done
count() { cd "$folder" && venv/bin/python -m pdoc -o "$folder/out" "of_a_$1" 2>&1 | grep -c "Error parsing type annotation" || true; }
seen="named tuple: $(count tuple) warnings, dataclass: $(count dataclass) warnings"
echo "$seen"
[ "$seen" = "named tuple: 2 warnings, dataclass: 0 warnings" ]
