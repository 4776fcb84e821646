"""Gateways of other make that `bench.passing` puts beside Darkroom; each is a program of its own."""
