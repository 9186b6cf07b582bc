"""Commands with keys over channels that break, and what the API server's audit log says of them.

Owns the callers, who send a command again under its key until they are told one outcome, and the
judgement: what was told as done was carried out once, what was told as failed never, and nothing
twice. The log is the judge, not what anybody answered.
"""
import asyncio
import json
import os
import random
import time
import uuid

from caller import Broken, Origin
from programs import CLUSTER, Tunnel, wait_for
from relay import Relay

CALLERS = 10
# What leaves the outcome open to the caller, who asks again under the same key.
AGAIN = {"channel_lost", "deadline_exceeded", "in_progress", "busy", "shutting_down", "not_connected", ""}
PATIENCE = 120


class Lane:
    """One agent, its gateway and the relay between them; its objects are in a namespace of its own."""

    def __init__(self, facts, number, seed):
        self.facts, self.space = facts, f"once-{os.getpid()}-{number}"
        quick = ("--reconnect-first", "250", "--reconnect-cap", "1000")
        self.tunnel = Tunnel(facts, gateway=quick)
        self.relay = Relay(self.tunnel.port, seed)
        agent = self.tunnel.agent.command
        agent[agent.index("--api-url") + 1] = f"https://127.0.0.1:{self.relay.port}"
        self.random = random.Random(seed)
        self.told = []
        self.asked_again = 0

    def up(self):
        self.relay.breaking = False
        self.tunnel.up()
        self.relay.breaking = True

    async def prepare(self, direct):
        await create(direct, "/api/v1/namespaces", {"metadata": {"name": self.space}})
        pod = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "none.example/none"}]}}
        for number in range(CALLERS):
            spec = {"replicas": 0, "selector": {"matchLabels": {"app": "x"}}, "template": pod}
            await create(direct, f"/apis/apps/v1/namespaces/{self.space}/deployments",
                         {"metadata": {"name": f"steps-{number}"}, "spec": spec})

    async def run(self, count, direct):
        through = Origin(f"{self.tunnel.url}/clusters/{CLUSTER}", self.tunnel.ca, self.tunnel.user_token)
        share = [count // CALLERS + (number < count % CALLERS) for number in range(CALLERS)]
        await asyncio.gather(*(self.call(number, each, through, direct) for number, each in enumerate(share)))
        self.relay.breaking = False

    async def call(self, number, count, through, direct):
        """Creations of distinct objects, and steps of one workload that only fit on each other."""
        at = 0
        for turn in range(count):
            if turn % 3 < 2:
                name = f"made-{number}-{turn}"
                manifest = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"by": str(number)},
                            "metadata": {"name": name, "namespace": self.space}}
                told = await self.once(through, "resources.apply", {"manifests": [manifest]})
                good = told.get("objects", [{}])[0].get("action") in (None, "created")
                self.told.append(("configmaps", name, told["outcome"] if good else f"odd: {told}"))
                continue
            name = f"steps-{number}"
            args = {"kind": "Deployment", "namespace": self.space, "name": name,
                    "replicas": at + 1, "expected_replicas": at}
            told = await self.once(through, "workloads.scale", args)
            if told["outcome"] == "done":
                good = (told["from"], told["to"]) == (at, at + 1)
                at += 1
            else:
                # Nobody else changes it: what it is now says what became of the step.
                good, before = True, at
                at = json.loads((await direct.get(f"/apis/apps/v1/namespaces/{self.space}/deployments/{name}"))[1])["spec"]["replicas"]
                good = at - before in ((0, 1) if told["outcome"] == "indeterminate" else (0,))
            self.told.append(("deployments", f"{name}/{turn}", told["outcome"] if good else f"odd: {told} at {at}"))

    async def once(self, through, name, args):
        """One outcome: done, failed or indeterminate."""
        key, end = str(uuid.uuid4()), time.monotonic() + PATIENCE
        headers = [("Idempotency-Key", key), ("Accept", "application/json"), ("Content-Type", "application/json"),
                   ("X-Deadline-Ms", "20000")]
        body = json.dumps(args).encode()
        while time.monotonic() < end:
            caller = None
            try:
                caller = await asyncio.wait_for(through.open(), 10)
                status = await asyncio.wait_for(caller.send("POST", f"/commands/{name}", headers, body), 40)
                answer = await asyncio.wait_for(caller.body(), 10)
            except (OSError, Broken, asyncio.IncompleteReadError, asyncio.TimeoutError):
                self.asked_again += 1
                continue
            finally:
                if caller:
                    caller.abort()
            if status == 200:
                return {"outcome": "done", **json.loads(answer)["result"]}
            code = caller.header("x-pipeops-code") or ""
            if code == "indeterminate":
                return {"outcome": "indeterminate"}
            if code not in AGAIN:
                return {"outcome": f"failed: {code}", "said": answer.decode()[:300]}
            self.asked_again += 1
            await asyncio.sleep(self.random.uniform(0.05, 0.3))
        return {"outcome": f"nothing told within {PATIENCE} s"}


async def create(direct, path, thing):
    caller = await direct.open()
    status = await caller.send("POST", path, [("Content-Type", "application/json")], json.dumps(thing).encode())
    body = await caller.body()
    caller.abort()
    if status != 201:
        raise RuntimeError(f"POST {path}: {status} {body[:200]}")


def carried_out(log, spaces):
    """By namespace, resource and name: how many changes of an agent the API server carried out."""
    counts, seen = {}, set()
    with open(log, encoding="utf-8") as file:
        for line in file:
            if "pipeops-agent/" not in line or '"ResponseComplete"' not in line:
                continue
            event = json.loads(line)
            about = event.get("objectRef") or {}
            if about.get("namespace") not in spaces or event["verb"] in ("get", "list", "watch"):
                continue
            if event["responseStatus"].get("code", 0) >= 300 or event["auditID"] in seen:
                continue
            seen.add(event["auditID"])
            place = about["namespace"], about["resource"], about["name"]
            counts[place] = counts.get(place, 0) + 1
    return counts


def judge(check, lanes, count):
    """The promises, each against the audit log."""
    spaces = {lane.space for lane in lanes}
    told = [(lane.space, *each) for lane in lanes for each in lane.told]
    steps = [each for each in told if each[1] == "deployments"]
    made = [each for each in told if each[1] == "configmaps"]
    outcomes = {}
    for *_, outcome in told:
        kind = outcome.split(":")[0]
        outcomes[kind] = outcomes.get(kind, 0) + 1
    breaks = sum(lane.relay.breaks for lane in lanes)
    again = sum(lane.asked_again for lane in lanes)

    # The log is written a moment after the answer.
    time.sleep(2)
    counts = carried_out(lanes[0].facts["CLUSTER_AUDIT_LOG"], spaces)
    twice = {place: times for place, times in counts.items() if place[1] == "configmaps" and times > 1}
    check.judge(not twice, "by the audit log no object was applied twice", f"{len(counts)} places, {list(twice.items())[:3]}")
    wrong = [each for each in made if (each[3] == "done" and counts.get(each[:3]) != 1)
             or (each[3].startswith("failed") and counts.get(each[:3]))]
    check.judge(not wrong, "what was told as done was carried out once, what as failed never", f"{len(made)} creations, {wrong[:3]}")
    # Of a workload's steps the log knows how many there were; what was told bounds them.
    odd = []
    for lane in lanes:
        for number in range(CALLERS):
            own = [each[3] for each in steps if each[0] == lane.space and each[2].startswith(f"steps-{number}/")]
            times = counts.get((lane.space, "deployments", f"steps-{number}"), 0)
            done, open_ = own.count("done"), own.count("indeterminate")
            if not done <= times <= done + open_:
                odd.append(f"{lane.space}/steps-{number}: {done} done, {open_} open, {times} carried out")
    check.judge(steps and not odd, "by the audit log no step of a workload was made twice", f"{len(steps)} steps, {odd[:3]}")
    good = set(outcomes) <= {"done", "indeterminate"}
    check.judge(len(told) == count and good, "each caller was told exactly one outcome",
                f"{len(told)} commands: {outcomes}, {[each for each in told if each[3] not in ('done', 'indeterminate')][:3]}")
    check.judge(breaks >= count / 20, "the channel broke often enough to tell", f"{breaks} breaks, {again} times asked again")
    for name, value in (("commands", len(told)), ("breaks", breaks), ("indeterminate", outcomes.get("indeterminate", 0)), ("asked again", again)):
        check.figure(name, value)


def run(check, facts, count, agents, seed):
    """`count` commands over so many agents at once."""
    lanes = [Lane(facts, number, seed + number) for number in range(agents)]
    for lane in lanes:
        lane.up()
    direct = Origin(facts["CLUSTER_API"], facts["CLUSTER_CA"], facts["CLUSTER_ADMIN_TOKEN"])

    async def all_lanes():
        for lane in lanes:
            await lane.prepare(direct)
        share = [count // agents + (number < count % agents) for number in range(agents)]
        await asyncio.gather(*(lane.run(each, direct) for lane, each in zip(lanes, share)))

    begun = time.monotonic()
    asyncio.run(all_lanes())
    check.figure("seconds", f"{time.monotonic() - begun:.1f}")
    judge(check, lanes, count)
    for lane in lanes:
        wait_for(30, lane.tunnel.works, "the tunnel works again")
        check.judge(not lane.tunnel.panics(), "nothing panicked")
        check.judge(lane.tunnel.down() == (0, 0), "both end in good order")
