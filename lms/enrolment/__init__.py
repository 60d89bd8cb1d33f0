"""Room: who is in which offering, with which role, and how they got in."""
