"""Talking to GPT-Image: deployments, the call, the answer decoded while it arrives."""
