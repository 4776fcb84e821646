"""What the HTTP doors take and give, described as data: the OpenAPI document, and what is generated from it.

`document` puts together what the other modules describe; `functions.site` serves it and `infra.generate` makes the
connector and the page of it. Nothing here runs when a request is handled: the validators of `shared.images` and
`shared.pipeline` do, and share their limits and lists with these schemas.
"""
