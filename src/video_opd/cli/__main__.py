"""`python -m video_opd.cli`."""

import sys

from video_opd.cli import main

sys.exit(main())
