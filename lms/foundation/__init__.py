"""Floor of every room: settings, database, clock, errors, events, blobs. No domain noun."""
