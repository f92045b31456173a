#!/usr/bin/env bash
# cloudpickle 3.1.2: pickling an instance changes the bytes that its class is pickled to afterwards.
#
# Whoever compares pickles to find out what has changed is told that a class has, though only an instance of it was pickled:
# copyreg caches the names of its slots in the class itself (`__slotnames__`), and cloudpickle takes that along.
# Seen: "same before True, same after an instance False, __slotnames__ True".
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check install -q cloudpickle==3.1.2
cat > "$folder/seen.py" <<'PY'
import cloudpickle


class Bag:
    def __init__(self):
        self.things = []


before = cloudpickle.dumps(Bag)
again = cloudpickle.dumps(Bag)
cloudpickle.dumps(Bag())
after = cloudpickle.dumps(Bag)
print(f"same before {before == again}, same after an instance {before == after}, __slotnames__ {'__slotnames__' in vars(Bag)}")
PY
seen=$("$folder/venv/bin/python" "$folder/seen.py")
echo "cloudpickle 3.1.2: $seen"
[ "$seen" = "same before True, same after an instance False, __slotnames__ True" ]
