"""Launch twenty tasks and follow all of them with one stream.

    farspawnd &
    python examples/watch_many.py [--site unix:/path/to/socket]

A stream that breaks off, because the agent was restarted for instance, is taken up again, and no end is missed.
"""

import argparse
import asyncio
import secrets
from contextlib import aclosing

import farspawn

TASKS = 20


async def main(address: str | None) -> None:
    """Launch them, watch until each has ended, forget them."""
    batch = {"batch": secrets.token_hex(4)}  # a label of our own: the site may have other tasks
    async with farspawn.AsyncClient(address) as site:
        commands = (["sh", "-c", f"sleep 0.{number % 7}; exit {number % 3}"] for number in range(TASKS))
        await asyncio.gather(*(site.launch(command, labels=batch) for command in commands))
        ended: set[str] = set()
        async with aclosing(site.watch(labels=batch)) as events:
            async for event in events:
                if isinstance(event, farspawn.TaskChanged) and event.status.outcome is not None:
                    ended.add(event.status.task_id)
                    print(f"{event.status.task_id}: {event.status.state.name} {event.status.outcome.returncode}")
                if len(ended) == TASKS:
                    break
        await asyncio.gather(*(site.delete(task_id) for task_id in ended))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Follow many tasks with one stream.")
    parser.add_argument("--site", help="unix:/path or host:port; default: FARSPAWN_SITE, else the agent you started")
    asyncio.run(main(parser.parse_args().site))
