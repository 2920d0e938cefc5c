"""The KVM host: libvirt and QEMU."""
