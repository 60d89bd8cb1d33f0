"""`python -m lms.cli`: the `lms` command where its script cannot be named."""

from lms.cli.main import main

main()
