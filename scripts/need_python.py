"""Say plainly what is missing when Python is too old, before pip says it obscurely."""

import sys

if sys.version_info < (3, 11):
    sys.exit(
        f"farspawn needs Python 3.11 or later; {sys.executable} is {sys.version.split()[0]}.\n"
        "Name another one: make PYTHON=/path/to/python3.11 ..."
    )
