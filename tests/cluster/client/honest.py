#!/usr/bin/env python3
"""An honest caller in a process of its own, so that what it gets is the gateway's doing and not the doing
of whoever plays the hostile peers: GETs of /version, one each 10 ms at most, until standard input
closes; then one JSON line with `served`, `errors` and the `slowest` in seconds.

    honest.py BASE_URL CA_FILE        the token comes as the first line of standard input
"""
import asyncio
import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from caller import Origin  # noqa: E402


async def main():
    origin = Origin(sys.argv[1], sys.argv[2], sys.stdin.readline().strip())
    served, errors, slowest = 0, [], 0.0
    leave = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    caller = await origin.open()
    while not leave.done():
        begun = time.monotonic()
        try:
            status, _ = await asyncio.wait_for(caller.get("/version"), 30)
        except Exception as error:  # noqa: BLE001: whatever it is, it is what is counted
            status = repr(error)
            caller = await origin.open()
        slowest = max(slowest, time.monotonic() - begun)
        served += 1
        if status != 200:
            errors.append(status)
        await asyncio.sleep(0.01)
    print(json.dumps({"served": served, "errors": errors[:5], "failed": len(errors), "slowest": round(slowest, 3)}), flush=True)


asyncio.run(main())
