#!/usr/bin/env bash
# datacommons-client 2.1.6: facets of the V2 API lose their `scalingFactor` in the client's model, without an error.
#
# A series of percentages with a scaling factor of 100 then looks like one without. The unit is kept.
# Seen: "unit Percent, scalingFactor None, fields: importName, measurementMethod, observationPeriod, provenanceUrl, unit".
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check install -q datacommons-client==2.1.6
cat > "$folder/seen.py" <<'PY'
from datacommons_client.models.observation import Facet

facet = Facet.model_validate({"importName": "X", "unit": "Percent", "scalingFactor": 100, "provenanceUrl": "https://example.org"})
told = facet.model_dump()
print(f"unit {told['unit']}, scalingFactor {told.get('scalingFactor')}, fields: {', '.join(sorted(told))}")
PY
seen=$("$folder/venv/bin/python" "$folder/seen.py")
echo "datacommons-client 2.1.6: $seen"
[ "$seen" = "unit Percent, scalingFactor None, fields: importName, measurementMethod, observationPeriod, provenanceUrl, unit" ]
