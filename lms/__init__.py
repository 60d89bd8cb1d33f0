"""Seodang: an open AI-education learning-management system."""
