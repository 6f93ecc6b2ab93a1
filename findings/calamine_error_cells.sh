#!/usr/bin/env bash
# python-calamine 0.9.1: a cell with an error, such as #N/A or #DIV/0!, is read as the empty text, as if nothing stood there.
#
# Input: a workbook by openpyxl 3.1.5 with the cells "a", "#N/A", "#DIV/0!" (errors, data type e) and one that is empty.
# Expected: something that differs from an empty cell, as openpyxl and pandas' openpyxl reader (NaN) give.
# Actual: to_python() gives "" for the errors and for the empty cell alike, without a word. A column of labels whose formula failed
# looks like one without labels.
#
# Output seen (Python 3.11):
#   openpyxl 3.1.5         ['a', '#N/A', '#DIV/0!', None]
#   python-calamine 0.9.1  ['a', '', '', '']
# Exits 0 while this is so, 1 when it has changed.
set -euo pipefail
unset PYTHONPATH
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet openpyxl==3.1.5 python-calamine==0.9.1
cat > "$place/try.py" <<'PY'
import sys

import openpyxl
from python_calamine import CalamineWorkbook

path = sys.argv[1]
book = openpyxl.Workbook()
for column, value in enumerate(["a", "#N/A", "#DIV/0!", None, "b"], start=1):
    book.active.cell(row=1, column=column, value=value)
assert [cell.data_type for cell in book.active[1]] == ["s", "e", "e", "n", "s"]
book.save(path)
by_openpyxl = [cell.value for cell in openpyxl.load_workbook(path).active[1]][:4]
by_calamine = CalamineWorkbook.from_path(path).get_sheet_by_index(0).to_python()[0][:4]
print(f"openpyxl {openpyxl.__version__}         {by_openpyxl}")
print(f"python-calamine 0.9.1  {by_calamine}")
sys.exit((by_openpyxl, by_calamine) != (["a", "#N/A", "#DIV/0!", None], ["a", "", "", ""]))
PY
"$place/venv/bin/python" "$place/try.py" "$place/book.xlsx"
