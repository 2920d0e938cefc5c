"""Random requests for every RPC, right, wrong and hostile: none is answered with our own failure."""
