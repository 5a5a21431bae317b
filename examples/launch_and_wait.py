"""Launch a task, read what it writes while it runs, and learn how it ended.

farspawnd &
python examples/launch_and_wait.py [--site unix:/path/to/socket]
"""

import argparse
import sys

import farspawn

parser = argparse.ArgumentParser()
parser.add_argument("--site", help="unix:/path or host:port; default: FARSPAWN_SITE, else the agent you started here")

with farspawn.Client(parser.parse_args().site) as site:
    task = site.launch(["sh", "-c", "for n in 1 2 3; do echo step $n; sleep 0.2; done; exit 3"])
    for line in task.logs(follow=True).lines():
        print(f"{task.task_id}: {line.data.decode().rstrip()}")
    print("return code:", task.wait())
    site.delete(task.task_id)

sys.exit(task.returncode != 3)
