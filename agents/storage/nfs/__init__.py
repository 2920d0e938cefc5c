"""NFS on hosts whose kernel has no client for it: libnfs speaks the protocol, FUSE shows it as files (PS-07)."""
