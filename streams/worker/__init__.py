"""What the process of any worker needs: start, signals, retries, metrics, memory, environment; start reading in
`lifecycle`.
"""
