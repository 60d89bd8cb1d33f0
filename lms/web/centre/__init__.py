"""Journey 3: an offline venue: the box's own page, and central's table of centres."""
