"""The software itself on its way to centres: what a version holds, and how it is installed."""
