"""What things are: records on the wire, their bounds, topics, errors. Imports nothing of the other packages."""
