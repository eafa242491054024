"""Run the command line as ``python -m asr_headroom``."""

from asr_headroom.cli.main import main

raise SystemExit(main())
