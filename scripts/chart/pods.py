"""The pods of a rendering, whatever makes them."""


class Pod:
    """A pod's template and the object that makes it."""

    def __init__(self, owner, metadata, spec):
        self.owner = owner
        self.kind = owner["kind"]
        self.place = f"{owner['kind']}/{owner['metadata']['name']}"
        self.labels = metadata.get("labels") or {}
        self.annotations = metadata.get("annotations") or {}
        self.spec = spec

    @property
    def own(self):
        """Containers of our images; those that an operator adds are the operator's."""
        return [c for c in self.containers if "/eidos/" in c["image"]]

    @property
    def containers(self):
        return self.spec["containers"] + self.spec.get("initContainers", [])

    @property
    def main(self):
        return self.spec["containers"][0]


def pods(rendered):
    found = []
    for owner in rendered.objects:
        if owner["kind"] in ("Deployment", "Job"):
            template = owner["spec"]["template"]
        elif owner["kind"] == "CronJob":
            template = owner["spec"]["jobTemplate"]["spec"]["template"]
        elif owner["kind"] == "Pod":
            template = owner
        else:
            continue
        found.append(Pod(owner, template["metadata"], template["spec"]))
    return found


def selects(selector, labels):
    """Whether `matchLabels` are all among the labels. An empty selector would take every pod."""
    wanted = selector["matchLabels"]
    return bool(wanted) and all(labels.get(key) == value for key, value in wanted.items())
