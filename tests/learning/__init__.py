"""The click models of clickfold beside Vowpal Wabbit, on files of outcomes: `make results-learning`."""
