"""The default model: simple experts on hashed slots, mixed by what they were worth. Begin with `model`, then `step`.

Each expert is a file: `base`, `linear` (Bayesian logistic regression, FTRL), `counts`, `pairs`. `mixing` joins them.
`layout` says which array holds what. `step` is the kernel. `rows` reads outcomes into its arrays.
"""
