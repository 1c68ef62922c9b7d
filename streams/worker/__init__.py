"""What the process of any worker needs: start, signals, retries, metrics, memory, environment; `runners` is the front
door.
"""
