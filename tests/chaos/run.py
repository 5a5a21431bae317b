"""Chaos: `python tests/chaos/run.py [--minutes N] [--seed S] [--clients K]`.

Several clients do what they like to one site, whose processes are killed meanwhile; then everything that was said is
judged. Exit code 0: nothing was found. The seed decides what clients and killer do, not how the machine schedules it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

_SHOWN = 5


def main() -> int:
    """Run, judge, and say what was found."""
    from chaos.game import Game

    parser = argparse.ArgumentParser(description="Do to a site what life does, and check what it says.")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", default="", help="empty: a random one")
    parser.add_argument("--clients", type=int, default=4)
    given = parser.parse_args()
    seed = given.seed or secrets.token_hex(4)
    directory = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    print(f"seed {seed}, {given.minutes:g} minutes, {given.clients} clients, in {directory}", flush=True)
    begun = time.monotonic()
    game = Game(directory, seed, given.clients)
    try:
        asyncio.run(game.play(60 * given.minutes))
    finally:
        game.site.end_all()
        game.history.close()
    findings = game.judge()
    print("\n".join(game.totals()))
    print(f"{time.monotonic() - begun:.0f} s")
    if not findings:
        shutil.rmtree(directory)
        return 0
    (directory / "findings").write_text("\n\n".join(map(str, findings)), encoding="utf-8")
    print(f"\nseed {seed}: {len(findings)} findings, all in {directory}/findings; the first ones:\n")
    print("\n\n".join(map(str, findings[:_SHOWN])))
    return 1


if __name__ == "__main__":
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # read when grpc is imported
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends us wants no agent left behind
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    sys.exit(main())
