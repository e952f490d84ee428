"""Compares the readers' results and prints the table of the docs: judge.py INDEX RESULTS LAKES [--write]"""

import json
import pathlib
import sys

index = json.load(open(sys.argv[1]))
results = [json.load(open(file)) for file in sorted(pathlib.Path(sys.argv[2]).glob("*.json"))]
lakes = json.load(open(sys.argv[3]))
DOCS = pathlib.Path("docs/querying-archives.md")
BEGIN, END = "<!-- scripts/test-readers writes this table -->", "<!-- end of the table -->"

# What is known to be lost, and said in the docs. Everything else that differs fails.
KNOWN = {
    ("fastparquet", None): "makes floats of decimals",
    ("pandas, default dtypes", "every_type.large"): "integers with NULL become floats",
    ("pandas, default dtypes", "every_type.small"): "integers with NULL become floats",
    ("pandas, default dtypes", "every_type.whole"): "integers with NULL become floats",
    ("pandas, default dtypes", "trades.filled_by"): "integers with NULL become floats",
    ("pandas, default dtypes", "every_type.real4"): "NULL and NaN are one",
    ("pandas, default dtypes", "every_type.real8"): "NULL and NaN are one",
}
# Whole tables that a reader is not asked for, and why.
UNREADABLE = {("fastparquet", "every_type"): "not asked for: it does not survive the table"}
QUESTIONS = {
    "sum": "sum beyond 38 digits",
    "product": "`sum(price * amount)`",
    "literal": "a decimal literal",
    "nullable": "sum of a nullable bigint",
    "padded": "`char(5)` = 'p1'",
    "nan": "NaN rows",
    "wallet": "one wallet",
    "months": "two months, changed columns",
}


def short(number):
    return number.rstrip("0").rstrip(".") if number.replace(".", "").replace("-", "").isdigit() and "." in number else number


truth = {name: short(answer) for name, answer in index["answers"].items()}
failures = []


def columns_cell(result):
    reader = result["reader"]
    equal = total = 0
    lost = []
    for table, found in result["tables"].items():
        if table == "far":
            continue
        if "error" in found:
            if (reader, table) not in UNREADABLE:
                failures.append(f"{reader} {result['version']}: {table}: {found['error']}")
            total += len(index["tables"][table]["columns"])
            why = UNREADABLE.get((reader, table), "cannot be read")
            lost.append(f"{table} {why}")
            continue
        total += found["columns"]
        equal += found["columns"] - len(found["wrong"])
        for column, what in found["wrong"].items():
            known = KNOWN.get((reader, f"{table}.{column}")) or KNOWN.get((reader, None))
            if known is None:
                failures.append(f"{reader} {result['version']}: {table}.{column}: {what}")
                known = f"{table}.{column}"
            lost.append(known)
    cell = f"{equal} of {total}"
    return cell + (f" ({', '.join(dict.fromkeys(lost))})" if lost else "")


def far_cell(result):
    far = result["tables"]["far"]
    if "error" in far:
        return "cannot be read"
    return "other days" if far["wrong"] else "equal"


def answer_cell(result, name):
    naive, right = result["answers"][name]["naive"], result["answers"][name]["right"]
    exact = truth[name]
    if naive == exact:
        return "equal"
    plainly = "refused" if isinstance(naive, dict) else "no answer" if naive is None else "**wrong**"
    if right == exact:
        return f"{plainly}; as below: equal"
    if right is None:
        return plainly
    failures.append(f"{result['reader']} {result['version']}: {name}: {right} instead of {exact}")
    return f"{plainly}; as below: not equal"


def rows():
    yield ["reader", "columns equal", *QUESTIONS.values(), "days outside of 0001–9999"]
    for result in results:
        name = f"{result['reader']} {result['version']}"
        yield [name, columns_cell(result), *(answer_cell(result, name) for name in QUESTIONS), far_cell(result)]


def table():
    head, *body = list(rows())
    lines = ["| " + " | ".join(row) + " |" for row in body]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *lines])


def details():
    for result in results:
        for name in QUESTIONS:
            answers = result["answers"][name]
            if answers["naive"] != truth[name]:
                print(f"{result['reader']} {result['version']}: {name}: plainly {answers['naive']}, exact {truth[name]}")


text = table()
details()
print(text)
trades = index["tables"]["trades"]
fees = sum(int(fee.replace(".", "")) for fee in trades["columns"]["fee"]["values"])
expected = {"delta": f"{trades['rows']} {short(f'{fees // 10**18}.{fees % 10**18:018}')}", "iceberg": truth["months"]}
for lake, answer in lakes.items():
    print(f"{lake}: {answer}")
    if answer != expected[lake]:
        failures.append(f"{lake}: {answer} instead of {expected[lake]}")
if failures:
    print("\n".join(["", *failures]), file=sys.stderr)
    sys.exit(1)
if sys.argv[4:] == ["--write"]:
    docs = DOCS.read_text()
    before, _, rest = docs.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCS.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
