"""`python -m farspawn` is the command `farspawn`."""

import sys

from farspawn._cli import main

sys.exit(main())
