"""Frozen dataclasses that cross machine borders, with their JSON; standard library only."""
