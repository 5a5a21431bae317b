"""Generate the Python stubs of protos/ under a source root, or check that they are up to date.

The service config goes with them: the client reads it.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

REPOSITORY = Path(__file__).resolve().parent.parent
PROTOS = REPOSITORY / "protos"
PACKAGE = Path("farspawn/v1")
SERVICE_CONFIG = "service_config.json"


def generate(root: Path) -> None:
    """Write the stubs of every .proto file to `root`/farspawn/v1."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    well_known = str(resources.files("grpc_tools") / "_proto")
    beside = Path(sys.executable).parent  # the plugins' commands; the environment need not be on PATH
    plugins = [f"--plugin=protoc-gen-{name}={beside / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    outputs = [f"--{plugin}_out={root}" for plugin in ("python", "grpc_python", "mypy", "mypy_grpc")]
    if protoc.main(["protoc", f"-I{PROTOS}", f"-I{well_known}", *plugins, *outputs, *sources]) != 0:
        sys.exit("protoc failed")
    shutil.copy(PROTOS / PACKAGE / SERVICE_CONFIG, root / PACKAGE)


def drift(committed: Path) -> list[str]:
    """Return the names of generated files that differ from what protos/ gives."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = {path.name for path in (Path(scratch) / PACKAGE).iterdir()}
        there = {path.name for path in (committed / PACKAGE).glob("*_pb2*")}
        _, differ, absent = filecmp.cmpfiles(Path(scratch) / PACKAGE, committed / PACKAGE, fresh, shallow=False)
        return sorted({*differ, *absent, *(there - fresh)})


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="source root that holds farspawn/v1")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the stubs are out of date")
    options = parser.parse_args()
    if not options.check:
        generate(options.root)
    elif stale := drift(options.root):
        sys.exit(f"stubs out of date, run `make stubs`: {', '.join(stale)}")


if __name__ == "__main__":
    main()
