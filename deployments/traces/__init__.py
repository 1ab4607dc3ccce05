"""Fused requests kept as Parquet: what is recorded, how it is written, and where it goes."""
