#!/usr/bin/env python3
"""oci.py IMAGE_JSON ROOTFS BUNDLE [ARG...]: an OCI bundle that runs an image as Kubernetes' restricted profile would.

Read-only root, the image's own user, a volume for its cache, no capabilities, no new privileges, its own PID and
mount namespaces; the network stays the host's, so that the loopback reaches it. ARGs replace the image's command. IMAGE_JSON comes from
`buildah inspect --type image`, ROOTFS from `buildah mount`.
"""
import json
import pathlib
import sys


def spec(image, rootfs, args):
    config = image["OCIv1"]["config"]
    uid, _, gid = config["User"].partition(":")
    nothing = {kind: [] for kind in ("bounding", "effective", "permitted", "ambient")}

    def mount(where, kind, *options):
        return {"destination": where, "type": kind, "source": kind, "options": ["nosuid", *options]}

    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": int(uid), "gid": int(gid)},
            "args": config["Entrypoint"] + (args or config["Cmd"]),
            "env": config["Env"],
            "cwd": config.get("WorkingDir") or "/",
            "capabilities": nothing,
            "noNewPrivileges": True,
        },
        "root": {"path": rootfs, "readonly": True},
        "mounts": [
            mount("/proc", "proc"),
            mount("/dev", "tmpfs", "mode=755", "size=64k"),
            mount("/sys", "sysfs", "ro"),
            mount("/var/cache/s3router", "tmpfs", "mode=700", f"uid={uid}", f"gid={gid}"),
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]},
    }


def main():
    image, rootfs, bundle, *args = sys.argv[1:]
    written = spec(json.loads(pathlib.Path(image).read_text()), rootfs, args)
    pathlib.Path(bundle, "config.json").write_text(json.dumps(written, indent=1))


main()
