"""A whole cluster in one process: the real join workers on fake edges, one seed a history."""
