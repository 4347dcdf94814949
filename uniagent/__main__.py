"""`python -m uniagent`."""

import sys

from uniagent.main import main

sys.exit(main())
