"""What is made of the app's OpenAPI document, and checked in: the connector, its icon, the page of the API.

`python -m infra.generate` writes it all anew; a test holds the files against it.
"""
