"""Grading as a pure function: nbgrader's preprocessors around a sandboxed kernel."""
