"""What leaves: blobs and their sidecars, provenance, links, events."""
