#!/usr/bin/env bash
# label-studio-sdk 2.1.2: LabelInterface.validate_task raises TypeError for a valid task that has predictions.
#
# Input: a labelling configuration with one <Labels> on one <Text>, and a task as Label Studio imports it: data, and a prediction with
# one span.
# Expected: True, as for the same task without predictions: the prediction alone is valid by validate_prediction.
# Actual: TypeError inside of validate_task; who checks files of suggestions before an import cannot.
#
# Output seen (Python 3.11):
#   label-studio-sdk 2.1.2   without predictions True   the prediction alone True
#   with predictions TypeError: LabelInterface.validate_prediction() missing 1 required positional argument: 'prediction'
# Exits 0 while this is so, 1 when it has changed.
set -euo pipefail
unset PYTHONPATH
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet label-studio-sdk==2.1.2
cat > "$place/try.py" <<'PY'
import sys
from importlib.metadata import version

from label_studio_sdk.label_interface import LabelInterface

config = """<View><Labels name="label" toName="text"><Label value="PER"/></Labels><Text name="text" value="$text"/></View>"""
value = {"start": 0, "end": 3, "text": "Ann", "labels": ["PER"]}
result = [{"id": "a", "from_name": "label", "to_name": "text", "type": "labels", "value": value}]
prediction = {"model_version": "m", "score": 0.5, "result": result}
interface = LabelInterface(config)
found = [interface.validate_task({"data": {"text": "Ann left."}}), interface.validate_prediction(prediction)]
print(f"label-studio-sdk {version('label-studio-sdk')}   without predictions {found[0]}   the prediction alone {found[1]}")
try:
    print("with predictions", interface.validate_task({"data": {"text": "Ann left."}, "predictions": [prediction]}))
    sys.exit(1)
except TypeError as error:
    print(f"with predictions TypeError: {error}")
sys.exit(found != [True, True])
PY
"$place/venv/bin/python" "$place/try.py"
