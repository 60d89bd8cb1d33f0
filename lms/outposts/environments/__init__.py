"""Environments of courses: packages declared with hashes, built once by digest, read-only."""
