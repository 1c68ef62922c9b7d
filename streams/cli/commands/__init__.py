"""The commands of `clickfold`, one file a group of them."""
