"""A GPT-Image REST server for one machine: what the app and its tests call for lack of the real one.

`python -m local.model` starts it (`__main__.py`); tests may take `app.create_app` instead. It imports nothing of the
app, so it cannot share the app's mistakes. Where the public documentation is silent or contradicts itself, a
switch in `behaviour.py` chooses, with the documented default.
"""
