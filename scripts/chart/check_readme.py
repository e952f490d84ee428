"""The table of values in the chart's README is written from the comments of values.yaml."""

import re

import yaml

from helm import CHART

README = CHART / "README.md"
BEGIN, END = "<!-- scripts/test-chart --readme writes this table -->", "<!-- end of the table -->"


class Row:
    """A key, what it is without values, and its comment."""

    def __init__(self, key, default, text):
        self.key, self.default, self.text = key, default, text


def rows():
    text = (CHART / "values.yaml").read_text()
    return list(walk(yaml.compose(text), text.splitlines(), ""))


def walk(node, lines, prefix):
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        comment = above(lines, key.start_mark)
        is_block = isinstance(value, yaml.MappingNode) and not value.flow_style
        is_service = prefix == "services."
        if is_block and not is_service:
            if comment:
                yield Row(name, "", comment)
            yield from walk(value, lines, f"{name}.")
        else:
            yield Row(name, "" if is_service else shown(value), comment)


def above(lines, mark):
    """The comment lines right above a key, at its depth."""
    found, line = [], mark.line - 1
    while line >= 0 and re.match(rf"^ {{{mark.column}}}# ?", lines[line]):
        found.insert(0, lines[line].strip().removeprefix("#").strip())
        line -= 1
    return " ".join(found)


def shown(node):
    """A value on one line, as it would be written."""
    if isinstance(node, yaml.MappingNode):
        return "{ " + ", ".join(f"{k.value}: {shown(v)}" for k, v in node.value) + " }" if node.value else "{}"
    if isinstance(node, yaml.SequenceNode):
        return "[" + ", ".join(shown(item) for item in node.value) + "]"
    return f'"{node.value}"' if node.style == '"' else node.value


def table():
    lines = ["| value | default | what it is |", "|---|---|---|"]
    for row in rows():
        default = f"`{row.default}`" if row.default else ""
        lines.append(f"| `{row.key}` | {default} | {row.text} |".replace("||", "| |"))
    return "\n".join(lines)


def split():
    before, rest = README.read_text().split(BEGIN)
    return before, rest.split(END)


def write():
    before, (_, after) = split()
    README.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}")


def check(expect):
    for row in rows():
        expect(row.text, f"values.yaml: {row.key} has no comment above it")
        expect("|" not in row.text + row.default, f"values.yaml: {row.key}: its line would break the table of README.md")
    _, (written, _) = split()
    expect(written.strip() == table(), "README.md: its table is not that of values.yaml; run scripts/test-chart --readme")
    named = set(re.findall(r"ci/[a-z]+-values\.yaml", README.read_text()))
    expect(named and all((CHART / name).exists() for name in named), f"README.md names value files that do not exist: {named}")
