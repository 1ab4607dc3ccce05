"""Recorded requests, read: listed, shown, exported, judged again, and reported on."""
