#!/usr/bin/env python3
"""Packs a folder as an image archive of one layer: image.py ROOT REFERENCE ARCHIVE CONFIG-JSON.

Owners, times and order are fixed, so the same folder gives the same image id.
"""
import hashlib
import io
import json
import os
import platform
import sys
import tarfile


def fixed(entry):
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = "root"
    return entry


def main(root, reference, archive, config):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for folder, folders, files in os.walk(root):
            folders.sort()
            for name in sorted(folders + files):
                path = os.path.join(folder, name)
                layer.add(path, arcname=os.path.relpath(path, root), recursive=False, filter=fixed)
    layer = buffer.getvalue()
    digest = hashlib.sha256(layer).hexdigest()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    described = json.dumps({
        "architecture": machine, "os": "linux", "config": json.loads(config),
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]},
    }).encode()
    name = hashlib.sha256(described).hexdigest() + ".json"
    manifest = json.dumps([{"Config": name, "RepoTags": [reference], "Layers": [digest + "/layer.tar"]}]).encode()
    with tarfile.open(archive, "w") as out:
        for path, data in ((name, described), (digest + "/layer.tar", layer), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            out.addfile(entry, io.BytesIO(data))


main(*sys.argv[1:])
