"""Mappings: how the records of a user's own form become impressions and clicks. Begin with `language`."""
