"""The notation of fixtures/sessions and fixtures/frames: texts, bytes, lines, and what matches what.

Owns the reading of the fixtures, as fixtures/README.md describes them. It knows neither program.
"""
import glob
import json
import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
FIXTURES = os.path.join(ROOT, "fixtures")
# P-9 and P-50.
CLOSES = {"too_large": 1009, "unsupported": 4426, "flood": 4429, "unauthorized": 4401, "ping_timeout": 4408,
          "decommissioned": 4410, "duplicate_agent": 4409, "busy": 4429, "internal": 4500, "shutting_down": 1001}
CODES = ["", "cancelled", "bad_request", "unknown_command", "forbidden", "busy", "deadline_exceeded",
         "upstream_unreachable", "credential_refused", "upstream_failed", "redirect_refused", "slow_reader",
         "credit_exceeded", "credit_overflow", "decompression_failed", "shutting_down", "channel_lost",
         "indeterminate", "internal", "too_large", "too_deep", "malformed", "protocol_error", "unsupported",
         "flood", "unauthorized", "duplicate_agent", "decommissioned", "ping_timeout", "ids_exhausted",
         "not_found", "conflict", "upstream_refused", "in_progress"]


class Mismatch(Exception):
    """The program did something other than what the fixture says."""


class Session:
    """A session: its name, its head and its lines."""

    def __init__(self, name, head, lines):
        self.name, self.head, self.lines = name, head, lines

    def __contains__(self, end):
        return end in self.head["replay"]


def hurried(session, end):
    """Whether lines of this end wait for its pings: their times are then made short."""
    return any(line.get("from") == end and line["frame"].get("type") == "ping" for line in session.lines)


def text(value):
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return text(value["repeat"]) * value["times"]
    return "".join(text(piece) for piece in value)


def raw(value):
    return bytes.fromhex(text(value).replace(" ", ""))


def bytes_of(data):
    """The bytes of a `data` frame."""
    if "text" in data:
        return text(data["text"]).encode()
    if "hex" in data:
        return raw(data["hex"])
    return pattern(data.get("pattern", 0))


def pattern(size):
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def stream_of(frame):
    for kind in ("data", "window", "reset"):
        if isinstance(frame.get(kind), dict):
            return frame[kind]["stream"]
    return frame.get("stream")


class Captures:
    """What `$name` stands for, once it was seen."""

    def __init__(self):
        self.known = {}

    def matches(self, line, got):
        if line == "$any":
            return True
        if isinstance(line, str) and line.startswith("$") and got is not None:
            return self.known.setdefault(line, got) == got
        if isinstance(line, dict) and isinstance(got, dict):
            if "error" in got and "error" not in line:
                return False
            return all(self.matches(value, got.get(key)) for key, value in line.items())
        return type(line) is type(got) and line == got

    def fill(self, line):
        """The line with what its names stand for; one that is new stands for a number of its own."""
        if isinstance(line, str) and line.startswith("$") and line != "$any":
            return self.known.setdefault(line, 1_000_000 + len(self.known))
        if isinstance(line, dict):
            return {key: self.fill(value) for key, value in line.items()}
        return line


def open_in(frame):
    """The `open` that this frame is, also where it is written as it goes over the wire."""
    if "raw_text" in frame:
        try:
            frame = json.loads(text(frame["raw_text"]))
        except (ValueError, RecursionError):
            return None
    return frame if isinstance(frame, dict) and frame.get("type") == "open" and "command" in frame else None


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def folder(*names):
    return sorted(glob.glob(os.path.join(FIXTURES, *names)))


def name_of(path):
    inside = os.path.splitext(os.path.relpath(path, FIXTURES))[0].replace(os.sep, "/")
    return inside.replace("/v2/", "/").replace("frames/", "")


def sessions():
    """Every whole session: the transcripts, and those that end in a refusal."""
    found = []
    for path in folder("sessions", "v2", "*.jsonl"):
        with open(path, encoding="utf-8") as file:
            head, *lines = [json.loads(line) for line in file]
        found.append(Session(name_of(path), head, lines))
    for path in folder("frames", "v2", "reject", "*", "*.json"):
        fixture = load(path)
        if "lines" in fixture:
            found.append(Session(name_of(path), fixture["session"], fixture["lines"]))
    return found


def messages(handshake):
    """Single messages and commands, each put into a session; `handshake` are the lines before it."""
    found = []
    for path in folder("frames", "v2", "reject", "*", "*.json"):
        fixture, code = load(path), path.split(os.sep)[-2]
        if "lines" in fixture:
            continue
        if "command" in fixture:
            command = {"id": "req-1", "name": fixture["command"]["name"]}
            args = text(fixture["command"]["args"])
            envelope = json.dumps({"type": "open", "stream": 1, "window": 262144, "class": "api", "command": command})
            lines = [line("gateway", {"raw_text": envelope[:-2] + ', "args": ' + args + "}}"}),
                     line("agent", {"type": "end", "stream": 1, "error": {"code": code, "message": "$any"}})]
            found.append(Session(name_of(path), {"replay": ["agent"]}, handshake + lines))
            continue
        for end in ("agent", "gateway"):
            if fixture["to"] in (end, "both"):
                lines = [line("gateway" if end == "agent" else "agent", message_of(fixture)),
                         line(end, {"type": "goaway", "code": code, "message": "$any"}, own=True, may=True),
                         line(end, {"close": CLOSES.get(code, 4400)}, own=True)]
                found.append(Session(name_of(path), {"replay": [end]}, handshake + lines))
    for path in folder("frames", "v2", "accept", "ignored", "*.json"):
        fixture = load(path)
        for end in ("agent", "gateway"):
            if fixture["to"] in (end, "both"):
                other = "gateway" if end == "agent" else "agent"
                lines = [line(other, message_of(fixture)), line(other, {"type": "ping", "nonce": 77}, own=True),
                         line(end, {"type": "pong", "nonce": 77}, own=True)]
                head = {"replay": [end], "scripted_pings": True}
                found.append(Session(name_of(path), head, handshake + lines))
    return found


def message_of(fixture):
    return {"raw_text": fixture["text"]} if "text" in fixture else {"raw_hex": fixture["hex"]}


def line(end, frame, **more):
    return {"from": end, "frame": frame, **more}
