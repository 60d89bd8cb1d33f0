"""Journey 2: see an offering's people and submissions, approve, collect; administer accounts."""
