"""`python -m vos_zoo` is `vos-zoo`."""

import sys

from vos_zoo.cli import main

sys.exit(main())
