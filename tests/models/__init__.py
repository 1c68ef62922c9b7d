"""What the tests of `online_models` share: outcomes whose click probabilities are known."""
