"""Puts the rows of a run between the marks of a page: page.py PAGE ROWS."""

import datetime
import sys

BEGIN, END = "<!-- test-stores: begin -->", "<!-- test-stores: end -->"
page, rows = sys.argv[1:3]
with open(page, encoding="utf-8") as file:
    before, _, rest = file.read().partition(BEGIN)
_, mark, after = rest.partition(END)
if not mark:
    sys.exit(f"{page} has no lines {BEGIN} and {END}")
with open(rows, encoding="utf-8") as file:
    table = "| server | probe | export | verify | removed, and what remains |\n|---|---|---|---|---|\n" + file.read()
today = datetime.datetime.now(datetime.UTC).date()
with open(page, "w", encoding="utf-8") as file:
    file.write(f"{before}{BEGIN}\nLast run: {today}.\n\n{table}{END}{after}")
