"""Models of click probability. `model` says what a model is and how to add one; `learner` drives it."""
