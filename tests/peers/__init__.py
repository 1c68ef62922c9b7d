"""clickfold's join beside other systems that do the same join, on one broker: `make bench`."""
