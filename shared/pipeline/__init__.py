"""The order of the steps: accept, run, read. The only room that knows it.

1. `accept`: validate, store the request and its sources, write the job's row, queue it.
2. `run`: under the job's lease wait for the deployment's turn, call, decode, store, read provenance, account.
3. `announce`: hand the completion event to the topic, from the outbox until the topic took it.
4. `read`: the job document, answers in the shape of the images API, stored images.
"""
