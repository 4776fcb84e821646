"""The whole app under attack: orders through every door, duplicates, killed workers, faults of all that is around it;
and the account of what became of each order, each call and each blob.

`python -m tests.chaos` (`make chaos`) is the long form, tests/faults/test_chaos.py a short one.

1. `orders` says what is asked for: a seed makes it the same every time.
2. `doors` asks, as the callers of each door do: again after a failure, and a third of it twice.
3. `faults` kills and disturbs while they do.
4. `patience` waits until all that was accepted has ended.
5. `evidence` gathers what storage, the topic and the model server hold; `audit` holds it to the promises of design
   section 7, call by call; `report` prints it.
"""
