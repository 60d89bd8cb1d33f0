"""TLS in a venue: an authority of its own, and the plain page that hands its certificate out."""
