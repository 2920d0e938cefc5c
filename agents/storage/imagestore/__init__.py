"""A store of images in pieces: what two images have in common lies there once (BS-23). Runs on the storage server."""
