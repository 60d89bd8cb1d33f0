"""In a person's notebook server: nbgrader's exchange classes over HTTP."""
