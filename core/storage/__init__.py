"""Files and caches that survive being killed in the middle of a write."""
