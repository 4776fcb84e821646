"""The life of a job: its states, its row, its turn at the model, what it cost."""
