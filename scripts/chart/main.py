"""Runs every check of the chart: scripts/test-chart."""

import sys
import time

import check_monitoring
import check_network
import check_options
import check_pods
import check_readme
import check_refusals
import check_scaling
import check_schemas
import check_secrets
import helm

SUBJECTS = (check_schemas, check_pods, check_scaling, check_network, check_secrets, check_monitoring, check_options,
            check_refusals, check_readme)


def main():
    if sys.argv[1:] == ["--readme"]:
        check_readme.write()
        return 0
    if sys.argv[1:]:
        print(f"test-chart: unknown option {sys.argv[1]}; there is --readme", file=sys.stderr)
        return 2
    began, failures, count = time.monotonic(), [], 0

    def expect(holds, message):
        nonlocal count
        count += 1
        if not holds:
            failures.append(message)

    for subject in SUBJECTS:
        before = count
        try:
            subject.check(expect)
        except RuntimeError as refusal:  # a value file is refused, or an object is missing
            failures.append(f"{subject.__name__}: {refusal}")
        if count == before:
            failures.append(f"{subject.__name__} checked nothing")
    for failure in failures:
        print(f"test-chart: {failure}", file=sys.stderr)
    if not failures:
        print(f"test-chart: ok, {count} checks in {time.monotonic() - began:.0f} s ({helm.version()})")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
