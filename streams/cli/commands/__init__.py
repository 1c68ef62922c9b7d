"""The commands of `clickfold`, one file for each command or group of commands."""
