"""Frozen dataclasses that cross process and machine borders, with their JSON; standard library only."""
