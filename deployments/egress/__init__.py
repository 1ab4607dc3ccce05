"""What may be fetched from the internet on a client's behalf, and what an exchange may raise.

`images.ImageUrls` checks and fetches images, `public_internet.PublicInternet` connects to public addresses alone.
"""
