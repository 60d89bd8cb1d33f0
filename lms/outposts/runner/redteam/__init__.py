"""Attacks on an assignment before students see it: wrong answers, cheats, and looking for leaks."""
