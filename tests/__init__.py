import os

# Ray protects every cluster that it starts with a token, and sends it only when told to before it is imported: by
# whichever test module comes first.
os.environ.setdefault("RAY_AUTH_MODE", "token")
