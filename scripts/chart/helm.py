"""Helm as a program, and the manifests that it renders."""

import concurrent.futures
import functools
import json
import pathlib
import shutil
import subprocess
import tempfile

import yaml

CHART = pathlib.Path("helm/eidos-backoffice")
# The three value files that operators begin with; every rule holds for each.
CASES = ("dev", "production", "minimal")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def values_file(case):
    return str(CHART / "ci" / f"{case}-values.yaml")


def helm(*arguments):
    """Runs Helm and returns whether it succeeded, and all that it said."""
    ran = subprocess.run(["helm", *arguments], capture_output=True, text=True, check=False)
    return ran.returncode == 0, ran.stdout if ran.returncode == 0 else ran.stderr


class Rendered:
    """What `helm template` makes of one set of values, or why it refuses."""

    def __init__(self, case, values, release, chart):
        arguments = ["template", release, str(chart), "--namespace", "backoffice"]
        if case:
            arguments += ["--values", values_file(case)]
        for key, value in values.items():
            arguments += ["--set-json", f"{key}={json.dumps(value)}"]
        self.ok, self.text = helm(*arguments)
        self.case = case
        self.name = f"{case or 'no values'}{' with ' if values else ''}{', '.join(f'{k}={json.dumps(v)}' for k, v in values.items())}"

    @functools.cached_property
    def objects(self):
        if not self.ok:
            raise RuntimeError(f"{self.name} is refused: {self.text}")
        return [found for found in yaml.load_all(self.text, LOADER) if found]

    def of(self, *kinds):
        return [found for found in self.objects if found["kind"] in kinds]

    def one(self, kind, name):
        """The object of this kind whose name ends with `name`, or None."""
        found = [o for o in self.of(kind) if o["metadata"]["name"].endswith(name)]
        return found[0] if found else None

    def need(self, kind, name):
        found = self.one(kind, name)
        if found is None:
            raise RuntimeError(f"{self.name}: there is no {kind} {name}")
        return found

    def names(self, kind):
        return {found["metadata"]["name"] for found in self.of(kind)}


@functools.lru_cache(maxsize=None)
def _render(case, values, release):
    return Rendered(case, json.loads(values), release, CHART)


def render(case="dev", values=None, release="release"):
    return _render(case, json.dumps(values or {}), release)


def prefetch(wanted):
    """Renders many sets of values at once; later calls of `render` find them done."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda case_values: render(*case_values), wanted))


def notes(case, values=None):
    """The text that an installation prints. Helm shows it with a cluster only, so a copy of the chart has it as an object."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "chart"
        shutil.copytree(CHART, copy)
        text = (copy / "templates/NOTES.txt").read_text()
        (copy / "templates/_notes.tpl").write_text('{{- define "notes" -}}' + text + "{{- end -}}")
        (copy / "templates/notes.yaml").write_text(
            'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: notes }\ndata:\n  notes: |\n    {{- include "notes" . | nindent 4 }}\n'
        )
        return Rendered(case, values or {}, "release", copy).one("ConfigMap", "notes")["data"]["notes"]


def lint(case):
    return helm("lint", "--quiet", "--strict", str(CHART), "--values", values_file(case))


def values():
    return yaml.load((CHART / "values.yaml").read_text(), LOADER)


def version():
    return helm("version", "--short")[1].strip()
