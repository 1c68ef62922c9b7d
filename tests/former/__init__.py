"""State and topics of the version before, and the script that wrote them."""
