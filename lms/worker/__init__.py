"""Door for the queue: claims grading jobs and calls one use case each."""
