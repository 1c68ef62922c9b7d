"""Clients of ClickHouse in other languages: their programs, what they need, and what they said once."""
