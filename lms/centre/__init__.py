"""Centres: offline venues, their journals, and what becomes of their work at central."""
