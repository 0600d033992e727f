"""Builds Prism, Beam's runner for one machine, so that it takes its clients from a Unix socket.

    python scripts/build_prism.py VERSION TARGET

As released, Prism listens on every interface of the machine and asks nobody who they are: whoever reaches the port runs
code. What is built here has an option more, `--job_socket=PATH`, and listens on loopback without it. It is compiled
from a copy of the released sources with two changed files. Each change names the text that it replaces, so that a
version of Beam that reads otherwise is refused, and never built without them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

MODULE: Final = "github.com/apache/beam/sdks/v2"
_SERVICES: Final = "go/pkg/beam/runners/prism/internal"
_LISTEN: Final = """\
var jobSocket = flag.String("job_socket", "", "listen on this Unix socket instead of a port")

func listen(port int) (net.Listener, error) {
\tif *jobSocket != "" {
\t\treturn net.Listen("unix", *jobSocket)
\t}
\treturn net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
}

"""
_SERVER: Final = "// NewServer acquires the indicated port.\n"
_PORT_OF_THE_SERVER: Final = "\t_, port, _ := net.SplitHostPort(s.lis.Addr().String())\n"
_ENDPOINT_OF_WORKERS: Final = """\
\t_, p, _ := net.SplitHostPort(lis.Addr().String())
\tmw := &MultiplexW{
\t\tendpoint: "localhost:" + p,
"""
_ITS_SOCKET: Final = """\
\t_, p, _ := net.SplitHostPort(lis.Addr().String())
\tendpoint := "localhost:" + p
\tif lis.Addr().Network() == "unix" {
\t\tendpoint = "unix:" + lis.Addr().String()
\t}
\tmw := &MultiplexW{
\t\tendpoint: endpoint,
"""
CHANGES: Final = {
    f"{_SERVICES}/jobservices/server.go": (
        ('import (\n\t"context"\n', 'import (\n\t"context"\n\t"flag"\n'),
        (_SERVER, _LISTEN + _SERVER),
        ('\tlis, err := net.Listen("tcp", fmt.Sprintf(":%d", port))\n', "\tlis, err := listen(port)\n"),
        (
            _PORT_OF_THE_SERVER,
            '\tif *jobSocket != "" {\n\t\treturn "unix:" + *jobSocket\n\t}\n' + _PORT_OF_THE_SERVER,
        ),
    ),
    f"{_SERVICES}/worker/worker.go": ((_ENDPOINT_OF_WORKERS, _ITS_SOCKET),),
}
"""File of the module to its changes: the text that stands there once, and what takes its place."""


def changed(text: str, changes: tuple[tuple[str, str], ...], name: str) -> str:
    """The text with all changes made; refuses one that does not hold each of the texts exactly once."""
    for old, new in changes:
        if text.count(old) != 1:
            sys.exit(f"{name} of this version of Beam reads otherwise; not built. It lacks:\n{old}")
        text = text.replace(old, new)
    return text


def build(version: str, target: Path) -> None:
    """Downloads the sources (Go checks their hashes), changes a copy, and installs the program at `target`."""
    asked = ["go", "mod", "download", "-json", f"{MODULE}@v{version}"]
    found = subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True).stdout
    released = Path(json.loads(found)["Dir"])
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        sources, built = Path(folder, "sources"), Path(folder, "prism").absolute()
        # Contents alone: in Go's cache of modules nothing may be written to.
        shutil.copytree(released / "go", sources / "go", copy_function=shutil.copyfile)
        for name in ("go.mod", "go.sum"):
            shutil.copyfile(released / name, sources / name)
        for path in (sources, *sources.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        for name, changes in CHANGES.items():
            text = (sources / name).read_text(encoding="utf-8")
            (sources / name).write_text(changed(text, changes, name), encoding="utf-8")
        subprocess.run(["go", "build", "-buildvcs=false", "-o", str(built), "./go/cmd/prism"], check=True, cwd=sources)
        built.replace(target)


if __name__ == "__main__":
    if len(sys.argv) != 3:  # noqa: PLR2004 - the version and the target
        sys.exit(__doc__)
    build(sys.argv[1], Path(sys.argv[2]))
