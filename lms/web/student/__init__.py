"""Journey 1: find a course, enrol, open a notebook, submit, read feedback."""
