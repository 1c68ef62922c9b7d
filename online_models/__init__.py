"""What a model of click probability is and must do, one file an idea; `learner` is the front door."""
