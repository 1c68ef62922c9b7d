"""The pages below `docs/reference`, made from the code they describe: `make reference` writes them, tests compare."""
