#!/usr/bin/env python3
"""Compares two runs of the parity steps: compare.py LEFT RIGHT [LABEL] [--must-differ].

One PASS or FAIL line a step; what differs is printed below it, after the masks of masks.txt. With
--must-differ one line judges the whole: a control run whose damage goes unseen is the failure.
"""
import difflib
import fnmatch
import os
import re
import sys


def masks():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "masks.txt")
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("#") or not line.strip():
                continue
            steps, pattern, replacement, reason = line.rstrip("\n").split("\t")
            if not reason:
                raise SystemExit(f"a mask without a reason: {pattern}")
            yield steps.strip(), re.compile(pattern), replacement.replace("\\n", "\n")


MASKS = list(masks())


def masked(step, text):
    for steps, pattern, replacement in MASKS:
        if fnmatch.fnmatch(step, steps):
            text = pattern.sub(replacement, text)
    return text


def steps(folder):
    return {name[:-5] for name in os.listdir(folder) if name.endswith(".code")}


def read(folder, step, part):
    try:
        with open(os.path.join(folder, f"{step}.{part}"), encoding="utf-8", errors="backslashreplace") as file:
            return masked(step, file.read()) if part != "code" else file.read()
    except FileNotFoundError:
        return "(this step did not run)\n"


def differences(left, right, step):
    for part in ("code", "out", "err"):
        ours, theirs = read(left, step, part), read(right, step, part)
        if ours != theirs:
            yield from difflib.unified_diff(ours.splitlines(), theirs.splitlines(), f"{left}/{step}.{part}",
                                            f"{right}/{step}.{part}", lineterm="", n=1)


def main(left, right, label="parity", *flags):
    everything = sorted(steps(left) | steps(right))
    differing = 0
    for step in everything:
        lines = list(differences(left, right, step))
        differing += bool(lines)
        if "--must-differ" not in flags:
            print(f"{'FAIL' if lines else 'PASS'} {label}: {step}")
            print("".join(f"    {line[:300]}\n" for line in lines[:20]), end="")
    if "--must-differ" in flags:
        print(f"{'PASS' if differing else 'FAIL'} {label}: damage is seen ({differing} of {len(everything)} steps differ)")
        return 0 if differing else 1
    # Fewer steps than promised would pass in silence.
    if not everything:
        print(f"FAIL {label}: no step ran")
    return 1 if differing or not everything else 0


sys.exit(main(*sys.argv[1:]))
