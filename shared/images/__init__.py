"""What is asked for and what an image is. Pure: no network, no clock."""
