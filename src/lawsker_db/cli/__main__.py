"""`python -m lawsker_db.cli`."""

from lawsker_db.cli import main

main()
