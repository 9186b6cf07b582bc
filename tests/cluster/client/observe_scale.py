#!/usr/bin/env python3
"""How long the first status takes at some size, and what the agent holds: observe_scale.py ENV-FILE NAME

The sizes are the API server's own: fill it with scale.py before. NAME goes into the figures' names.
"""
import http.client
import json
import ssl
import sys
import time

from programs import CLUSTER, Tunnel, environment
from report import Report


def first(tunnel, command, until):
    """Seconds from the request to `until`, and the last value of `summary`; the connection stays open."""
    trust = ssl.create_default_context(cafile=tunnel.ca)
    connection = http.client.HTTPSConnection("127.0.0.1", tunnel.port, timeout=120, context=trust)
    begun, summary, kind = time.monotonic(), None, None
    connection.request("POST", f"/clusters/{CLUSTER}/commands/{command}", "{}", {
        "Authorization": "Bearer " + tunnel.user_token, "Content-Type": "application/json", "Accept": "text/event-stream"})
    answer = connection.getresponse()
    for line in answer:
        line = line.decode().rstrip("\n")
        if line.startswith("event: "):
            kind = line[7:]
        elif line.startswith("data: "):
            summary = json.loads(line[6:]) if kind == "summary" else summary
            if kind == until:
                return time.monotonic() - begun, summary, (connection, answer)
    raise RuntimeError(f"{command} ended before {until}")


def main():
    facts, name = environment(sys.argv[1]), sys.argv[2]
    nodes, pods, ceiling = int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
    tunnel = Tunnel(facts).up()
    before = tunnel.agent.memory()
    for command, until in (("status.get", "summary"), ("status.watch", "synced")):
        tunnel.agent.forget_peak()
        seconds, summary, kept = first(tunnel, command, until)
        counted = sum(count for phase, count in summary["pods"].items() if phase != "unhealthy")
        CHECK.judge((summary["nodes"], counted) == (nodes, pods), f"{command} at {name} counts all nodes and pods", json.dumps(summary))
        CHECK.pace(seconds < 10, seconds < 60, f"{command} at {name} tells the first status within 10 s", f"{seconds:.1f} s")
        CHECK.judge(tunnel.agent.peak() < ceiling, f"{command} at {name} with the agent under {ceiling:g} MiB", f"{tunnel.agent.peak():.1f} MiB at most")
        CHECK.figure(f"{command} {name} seconds", f"{seconds:.1f}")
        CHECK.figure(f"{command} {name} agent MiB, at most and before", f"{tunnel.agent.peak():.1f}, {before:.1f}")
        time.sleep(2)
        CHECK.figure(f"{command} {name} agent MiB, two seconds later", f"{tunnel.agent.memory():.1f}")
        kept[0].close()
    CHECK.judge(not tunnel.panics(), "nothing panicked")
    CHECK.judge(tunnel.down() == (0, 0), "both end in good order")


CHECK = Report("scale")
CHECK.run(main)
