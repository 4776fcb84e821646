"""What Darkroom costs beside the naive way and beside what the machine allows; `python -m bench` is the door.

Every figure is a ratio of things measured in one run, interleaved, each contender in a process of its own. Nothing here
is imported by the app, and by its tests only what makes the page of the figures.
"""
