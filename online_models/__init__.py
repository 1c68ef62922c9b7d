"""Models of click probability. `model` says what one is and how to add one; `learner` drives it."""
