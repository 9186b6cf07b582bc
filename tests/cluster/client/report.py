"""What a check prints, and how it ends: PASS, FAIL and FIGURE lines, and the exit code."""
import logging
import os
import sys
import traceback

# A hostile peer writes into connections that the other end has closed: no news.
logging.getLogger("asyncio").setLevel(logging.CRITICAL)
LONG = os.environ.get("PIPEOPS_TEST_LENGTH") == "long"


class Report:
    """The lines of one check."""

    def __init__(self, name):
        self.name, self.failed = name, False

    def judge(self, good, text, seen=""):
        """PASS or FAIL; what was seen stands behind either."""
        self.failed |= not good
        print(f"{'PASS' if good else 'FAIL'} {self.name}: {text}" + (f" ({seen})" if seen else ""), flush=True)
        return good

    def pace(self, good, sane, text, seen=""):
        """A goal of speed. tests/long holds it; tests/run, which shares its machine, ends only
        what is so far off that it must be a defect, and says that the goal was missed."""
        if good or LONG:
            return self.judge(good, text, seen)
        print(f"FIGURE {self.name} missed: {text} = {seen}", flush=True)
        return self.judge(sane, f"near enough for a shared machine: {text}", seen)

    def figure(self, name, value):
        print(f"FIGURE {self.name} {name} = {value}", flush=True)

    def run(self, act):
        """Runs it; an exception is a failure with its place."""
        try:
            act()
        except BaseException as error:  # noqa: BLE001: whatever ends a check has failed it
            traceback.print_exc()
            self.judge(False, "the check ran to its end", repr(error)[:300])
        sys.exit(1 if self.failed else 0)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(values):
    return percentile(values, 0.5)
