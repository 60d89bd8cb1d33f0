"""Room: programmes, courses, offerings, units, assignments and releases."""
