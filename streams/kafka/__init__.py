"""Every way in which clickfold uses Kafka; `settings` makes the settings of each client."""
