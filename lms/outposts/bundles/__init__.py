"""Bundles: signed course versions as files, over a line or on a stick. No database, no LMS."""
