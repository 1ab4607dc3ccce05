"""Fused requests kept as rows of Parquet. `recorder.Recorder` takes them and never blocks.

`row` and `columns` say what a row holds, `segment` is the file being written, `finishing` and `destination` bring
complete files to where they are kept.
"""
