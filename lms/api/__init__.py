"""Door for machines: exchange, OpenID Connect, health; JSON and blobs."""
