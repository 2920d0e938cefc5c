"""What happens on hosts: the runtime with its journal, and what it does to KVM, networks and storage."""
