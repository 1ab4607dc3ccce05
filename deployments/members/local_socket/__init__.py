"""Calls to a replica on the same machine over a Unix socket: `member` and `client` on the judge's side, `server` on the
replica's, `protocol` the frames between them, `paths` where the sockets are."""
