"""Mutation: `make mutate` changes the code in one small place at a time and asks whether a test fails."""
