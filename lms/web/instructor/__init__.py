"""Journey 2: who is in the offering, what came in, grading again."""
