"""Journey 1: find a course, enrol, open its notebook, submit, read score and feedback."""
