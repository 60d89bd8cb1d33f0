"""Room: which run's score stands as a person's result for an assignment."""
