#!/usr/bin/env python3
"""panic.py ENV-FILE: a handler that panics harms no other stream, in the build that PIPEOPS_AGENT is.

The agent must be built with the feature `cluster-tests`: there a command whose id begins with
`test-panic` panics. A scripted gateway asks for it in the middle of other streams."""
import asyncio
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import peer  # noqa: E402
from programs import Tunnel, environment, metric  # noqa: E402
from report import Report  # noqa: E402


def opened(stream, name, args, id_):
    return '{"type":"open","stream":%d,"window":262144,"class":"api","command":{"id":"%s","name":"%s","args":%s}}' % (stream, id_, name, args)


async def act(tunnel):
    gateway = peer.Gateway()
    await gateway.start(f"{tunnel.folder}/dev/tls.crt", f"{tunnel.folder}/dev/tls.key", tunnel.port)
    tunnel.agent.start()
    session = await gateway.session()
    session.text(opened(1, "channel.echo", '{"mode":"echo"}', "first"))
    session.data(1, b"before ")
    for stream in range(2, 52):
        session.text(opened(stream, "channel.echo", '{"mode":"sink"}', f"test-panic-{stream}"))
        code = await asyncio.wait_for(session.end_of(stream), 5)
        if code != "internal":
            CHECK.judge(False, "a handler that panics ends its stream with internal", str(code))
            return
    CHECK.judge(True, "a handler that panics ends its stream with internal, 50 times")
    session.text(opened(52, "k8s.request", '{"method":"GET","path":"/version"}', "after"))
    code = await asyncio.wait_for(session.end_of(52), 5)
    session.data(1, b"and after", fin=True)
    heard = await asyncio.wait_for(session.end_of(1), 5)
    CHECK.judge(code == "" and heard == "", "the stream beside it, and the next one, end well", f"{code!r} {heard!r}")
    counted = metric(tunnel.agent_metrics(), "pipeops_agent_command_panics_total")
    CHECK.judge(counted == 50, "the panics are counted", f"{counted:g}")
    session.abort()


def main():
    tunnel = Tunnel(environment(sys.argv[1]))
    tunnel.start_gateway()
    tunnel.gateway.kill()
    asyncio.run(act(tunnel))


CHECK = Report("panic")
CHECK.run(main)
