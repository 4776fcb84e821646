"""The rooms behind the doors: everything Darkroom does once a request has come in."""
