"""The default model: simple experts on hashed slots, mixed by what they were worth. Begin with `model`, then `step`.

Each expert is a file: `linear` (Bayesian logistic regression, FTRL), `adagrad`, `counts`, `pairs`; `descent` has the
steps that several take. `mixing` joins them. `layout` says which array holds what. `step` is the kernel. `reading`
makes rows of outcomes, `rows` are its arrays. `plain` is FTRL alone.
"""
