#!/usr/bin/env python3
"""followers.py ENV-FILE [FOLLOWERS] [SECONDS]: many followers of logs, half of whom stop reading.

Owns the promise that a thousand `logs.follow` at once, 500 of which nobody reads, leave the agent under
64 MiB resident and the others' lines at p99 within 1.2x + 5 ms of the same run with everybody reading."""
import asyncio
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from caller import Broken, Origin  # noqa: E402
from programs import CLUSTER, Tunnel, environment, free_port  # noqa: E402
from report import Report, percentile  # noqa: E402

CEILING, EVERY, FLOOD = 64, 1.0, 8 * 2**20
AT = re.compile(rb"at (\d+)")


class Run:
    """A thousand followers, half of whom stall or read like all others."""

    def __init__(self, tunnel, followers, stall):
        self.origin, self.followers, self.stall = Origin(tunnel.url, tunnel.ca, tunnel.user_token), followers, stall
        self.delays, self.held, self.heard, self.counts = [], [], set(), False
        # So many TLS handshakes at once: more would only wait for this program.
        self.gate = asyncio.Semaphore(32)

    async def one(self, number):
        stalled = self.stall and number % 2 == 0
        name = f"{'flood' if stalled else 'pod'}-{number}"
        async with self.gate:
            caller = await self.origin.open(limit=1 << 16, kernel=(1 << 16) if stalled else None)
            status = await caller.send("GET", f"/clusters/{CLUSTER}/logs?namespace=default&pod={name}&follow=true")
        if status != 200:
            raise RuntimeError(f"status {status}")
        if stalled:
            await caller.reader.readexactly(1 << 14)
            caller.writer.transport.pause_reading()
            self.held.append(caller)
            return
        self.held.append(caller)
        try:
            async for line in caller.lines():
                now = time.monotonic_ns()
                found = AT.search(line)
                if found:
                    self.heard.add(number)
                    # Those of one half are counted, the same half in both runs.
                    if self.counts and number % 2:
                        self.delays.append((now - int(found[1])) / 1e6)
        except Broken:
            if self.counts:
                raise

    async def measure(self, seconds):
        tasks = [asyncio.create_task(self.one(number)) for number in range(self.followers)]
        readers = self.followers // 2 if self.stall else self.followers
        begun = time.monotonic()
        while (len(self.heard) < readers or len(self.held) < self.followers) and time.monotonic() - begun < 240:
            await asyncio.sleep(0.5)
        # What the stalled ones were sent first has then filled all that it can.
        await asyncio.sleep(10)
        self.counts = True
        await asyncio.sleep(seconds)
        self.counts = False
        failed = [repr(task.exception()) for task in tasks if task.done() and task.exception()]
        found = len(self.held), len(self.heard), failed
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for caller in self.held:
            caller.abort()
        return found


def measured(tunnel, followers, seconds, stall):
    name = f"{followers // 2} stalled" if stall else "all reading"
    run = Run(tunnel, followers, stall)
    for program in (tunnel.agent, tunnel.gateway):
        program.forget_peak()
    held, heard, failed = asyncio.run(run.measure(seconds))
    readers = followers // 2 if stall else followers
    CHECK.judge(held == followers and heard == readers and not failed, f"{name}: {readers} followers hear their lines",
                f"{heard} of {held} connections, {len(run.delays)} lines counted, errors {failed[:2]}")
    p50, p99 = percentile(run.delays, 0.5), percentile(run.delays, 0.99)
    CHECK.figure(f"delay of a line, ms, {name}", f"p50 {p50:.1f}, p99 {p99:.1f}, {len(run.delays) / seconds:.0f} lines/s")
    peaks = tunnel.agent.peak(), tunnel.gateway.peak()
    CHECK.figure(f"peak MiB of agent and gateway, {name}", f"{peaks[0]:.1f}, {peaks[1]:.1f}")
    CHECK.judge(peaks[0] < CEILING, f"{name}: the agent stays under {CEILING} MiB", f"{peaks[0]:.1f} MiB at most")
    return p99


def main():
    facts = environment(sys.argv[1])
    followers = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    seconds = int(sys.argv[3]) if len(sys.argv) > 3 else 60
    port, here = free_port(), os.path.dirname(os.path.abspath(__file__))
    source = subprocess.Popen([sys.executable, here + "/lines.py", str(port), facts["CLUSTER_PKI"] + "/apiserver.crt",
                               facts["CLUSTER_PKI"] + "/apiserver.key", str(EVERY), str(FLOOD)])
    try:
        tunnel = Tunnel(facts, api=f"https://127.0.0.1:{port}", gateway=("--user-long-running", "4096")).up()
        before = measured(tunnel, followers, seconds, stall=False)
        after = measured(tunnel, followers, seconds, stall=True)
        CHECK.judge(after <= 1.2 * before + 5, "the others' p99 stays within 1.2x + 5 ms", f"{after:.1f} ms to {before:.1f} ms")
        CHECK.judge(tunnel.works(), "the tunnel works afterwards")
        CHECK.judge(not tunnel.panics(), "nothing panicked")
    finally:
        source.kill()


CHECK = Report("followers")
CHECK.run(main)
