"""``python -m cyconv``."""

from cyconv.cli import main

raise SystemExit(main())
