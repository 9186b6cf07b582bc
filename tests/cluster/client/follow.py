"""A follower of logs over SSE that outlives its gateway, and the truth on the node to judge it by."""
import glob
import gzip
import http.client
import json
import os
import ssl
import threading
import time
from urllib.parse import urlsplit


class Follower(threading.Thread):
    """Reads `logs.follow` until told to stop; after a lost connection it goes on by Last-Event-ID."""

    def __init__(self, url, ca, token, path):
        super().__init__(daemon=True)
        self.url, self.ca, self.token, self.path = urlsplit(url), ca, token, path
        self.last, self.told, self.others, self.connections = None, {}, {}, 0
        self.names, self.failed, self.stopping = {}, None, False
        self.heard = time.monotonic()

    def run(self):
        while not self.stopping:
            try:
                self.read()
            except (OSError, http.client.HTTPException, ssl.SSLError, ValueError):
                pass
            except Exception as error:  # noqa: BLE001: whatever it is, the check must say it
                self.failed = repr(error)
                return
            time.sleep(0.2)

    def read(self):
        trust = ssl.create_default_context(cafile=self.ca)
        connection = http.client.HTTPSConnection(self.url.hostname, self.url.port, timeout=60, context=trust)
        headers = {"Authorization": "Bearer " + self.token, "Accept": "text/event-stream"}
        if self.last:
            headers["Last-Event-ID"] = self.last
        connection.request("GET", self.path, headers=headers)
        answer = connection.getresponse()
        if answer.status != 200:
            body = answer.read()
            # Nothing was read yet, or the gateway leaves: later it may be otherwise.
            if answer.status not in (429, 502, 503, 504):
                self.failed = f"{answer.status} {body[:300]!r}"
                self.stopping = True
            return
        self.connections += 1
        name = data = identity = None
        while not self.stopping and (line := answer.readline()):
            self.heard = time.monotonic()
            line = line.rstrip(b"\n")
            if line.startswith(b"id: "):
                identity = line[4:].decode()
            elif line.startswith(b"event: "):
                name = line[7:].decode()
            elif line.startswith(b"data: "):
                data = line[6:]
            elif not line:
                if name:
                    self.take(name, json.loads(data))
                    # With the blank line the event is whole: from now on it is not asked for again.
                    self.last = identity or self.last
                name = data = identity = None
        connection.close()

    def take(self, name, value):
        source = value.get("source", "")
        if name == "lines":
            self.names[source] = f"{value['namespace']}/{value['pod']}"
            more = set(value.get("more", ()))
            entries = [(stamp, text, at in more) for at, (stamp, text) in enumerate(value["lines"])]
            if value.get("uncertain"):
                entries.insert(0, "uncertain")
            self.told.setdefault(source, []).extend(entries)
        elif name == "gap":
            self.told.setdefault(source, []).append("gap")
        self.others[name] = self.others.get(name, 0) + 1
        if name == "error" and value["code"] not in ("shutting_down", "channel_lost"):
            self.failed = json.dumps(value)

    def stop(self):
        self.stopping = True
        self.join(70)


def fixed(stamp):
    """A stamp with nine digits of fraction, as the kubelet serves it; its files leave zeros at the end out."""
    time, _, fraction = stamp.removesuffix("Z").partition(".")
    return f"{time}.{fraction:0<9}Z"


def truth(folder):
    """The lines of a container, out of all its files: (stamp, text), and where files begin."""
    files = [file for file in glob.glob(f"{folder}/*.log*") if not file.endswith(".tmp")]
    # `0.log` is the newest; rotated ones carry their time, and may be both there and compressed.
    def order(file):
        base = os.path.basename(file)
        number, _, rest = base.partition(".log")
        return int(number), (rest == "", rest.removesuffix(".gz"))
    unique = {}
    for file in files:
        unique.setdefault(order(file), file)
    lines, begins = [], set()
    for key in sorted(unique):
        begins.add(len(lines))
        opener = gzip.open if unique[key].endswith(".gz") else open
        with opener(unique[key], "rt", encoding="utf-8", newline="\n") as file:
            for line in file:
                stamp, _, _, text = line.rstrip("\n").split(" ", 3)
                lines.append((fixed(stamp), text))
    return lines, begins


def judge(told, lines, begins):
    """What is wrong with what was told of one container, and how many gaps and lost lines there were.

    Judged by the place of each line in the node's own files, which nobody on the way has seen."""
    place = {}
    for at, line in enumerate(lines):
        place.setdefault(line, []).append(at)
    wrong, gaps, lost, at, gap = [], 0, 0, 0, False
    for entry in told:
        if entry == "gap":
            gaps += 1
            if gap:
                wrong.append(f"two gaps at once behind line {at}")
            gap = True
            continue
        if entry == "uncertain":
            wrong.append(f"uncertain behind line {at}")
            continue
        stamp, text, _ = entry
        here = at < len(lines) and lines[at] == (stamp, text)
        if here and not gap:
            at += 1
            continue
        found = [where for where in place.get((stamp, text), ()) if where >= at]
        if at == 0 and not gap and found and found[0] in begins:
            # What had been rotated before anybody read it is not known to have been.
            at = found[0] + 1
            continue
        if not found:
            again = (stamp, text) in place
            wrong.append(f"line {at}: {stamp} {text[:40]!r} {'comes again' if again else 'was never written'}")
            gap = False
        else:
            where = found[0]
            if not gap:
                wrong.append(f"lines {at} to {where - 1} are missing without a gap")
            elif where not in begins:
                # Before the first line of a file a gap may be empty: who has read the file before it
                # to its end, and comes back after the rotation, cannot know that this was its end.
                wrong.append(f"a gap up to line {where}, which is not the first of a file")
            if gap:
                lost += where - at
            at, gap = where + 1, False
        if len(wrong) > 5:
            break
    if at != len(lines):
        wrong.append(f"told up to line {at} of {len(lines)}")
    return wrong, gaps, lost
