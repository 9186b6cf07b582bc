#!/usr/bin/env python3
"""thousand.py ENV-FILE [STREAMS] [BYTES-A-STREAM]: many streams, half of which nobody reads.

Owns the promise that a thousand answers of 10.7 MB each (10 GiB offered), half of them stalled, leave
the other half whole, and agent and gateway under 64 MiB resident each."""
import asyncio
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from caller import Origin  # noqa: E402
from programs import Tunnel, environment, free_port  # noqa: E402
from report import Report  # noqa: E402

CEILING = 64


async def one(origin, size, stalled, held, whole, gate):
    async with gate:
        caller = await origin.open(limit=1 << 16, kernel=(1 << 16) if stalled else None)
        status = await caller.send("GET", "/api/v1/namespaces/default/pods/it/log")
    if status != 200:
        raise RuntimeError(f"status {status}")
    if stalled:
        await caller.reader.readexactly(1 << 14)
        caller.writer.transport.pause_reading()
        held.append(caller)
        return
    got = 0
    async for piece in caller.pieces():
        got += len(piece)
    if got == size:
        whole.append(got)
    caller.abort()


async def act(tunnel, streams, size):
    origin, held, whole = Origin(tunnel.base, tunnel.ca, tunnel.user_token), [], []
    # So many TLS handshakes at once: more would only wait for this program.
    gate, begun = asyncio.Semaphore(32), time.monotonic()
    results = await asyncio.gather(*(one(origin, size, number % 2 == 0, held, whole, gate) for number in range(streams)), return_exceptions=True)
    took = time.monotonic() - begun
    errors = [repr(result) for result in results if isinstance(result, Exception)]
    CHECK.judge(not errors and len(whole) == streams // 2, f"{streams // 2} readers get their answer whole",
                f"{len(whole)}, {sum(whole) / 2**30:.2f} GiB in {took:.0f} s; errors {errors[:2]}")
    CHECK.judge(len(held) == streams // 2, f"{streams // 2} readers stalled meanwhile", str(len(held)))
    for program in (tunnel.agent, tunnel.gateway):
        peak = program.peak()
        CHECK.judge(peak < CEILING, f"the {program.name} stays under {CEILING} MiB", f"{peak:.1f} MiB at most")
        CHECK.figure(f"peak MiB of the {program.name}, {streams} streams", f"{peak:.1f}")
    for caller in held:
        caller.abort()


def main():
    facts, streams = environment(sys.argv[1]), int(sys.argv[2] if len(sys.argv) > 2 else 1000)
    size = int(sys.argv[3]) if len(sys.argv) > 3 else 10 * 2**30 // streams
    port, here = free_port(), os.path.dirname(os.path.abspath(__file__))
    source = subprocess.Popen([sys.executable, here + "/source.py", str(port), facts["CLUSTER_PKI"] + "/apiserver.crt",
                               facts["CLUSTER_PKI"] + "/apiserver.key", str(size)])
    try:
        tunnel = Tunnel(facts, api=f"https://127.0.0.1:{port}", gateway=("--user-long-running", "4096")).up()
        asyncio.run(act(tunnel, streams, size))
        CHECK.judge(tunnel.works(), "the tunnel works afterwards")
        CHECK.judge(not tunnel.panics(), "nothing panicked")
    finally:
        source.kill()


CHECK = Report("thousand")
CHECK.run(main)
