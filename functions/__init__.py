"""The doors, one blueprint per trigger family: parse, call the pipeline, render. No logic."""
